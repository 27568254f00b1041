/** Devices of the live target: names that stand in the seeds, and those that take their place in a lane of a run. */
import { createHash } from 'node:crypto'
import type { Server } from '../../broker/server.ts'
import type { Kind } from '../../core/ports.ts'

export const LANES = 8
/** Device ids in the seeds: a thing, the one beside it, a person, and those who are written to. */
export const THING = 'f000'
export const NEIGHBOUR = 'f00n'
export const PERSON = 'p000'
export const VICTIM = 'vict'
export const BOB = 'bob0'
export const TOKEN = 'token-of-the-fuzz-lane'
export const BOB_REGISTRATION = 101

/** A user id that is the same in every run. */
export function fuzzUser(name: string, kind: Kind): Uint8Array {
  const user = createHash('sha256').update(name).digest().subarray(0, 16)
  user[6] = ((user[6] as number) & 0x0f) | (kind === 'person' ? 0x40 : 0x80)
  user[8] = ((user[8] as number) & 0x3f) | 0x80
  return user
}
/** Names for them: enough for hours. */
const GENERATIONS = 36 * 36

const laneId = (prefix: string, generation: number, lane: number): string =>
  `${prefix}${(generation % GENERATIONS).toString(36).padStart(2, '0')}${lane}`

export const sendersOf = (generation: number): string[] =>
  Array.from({ length: LANES }, (_, lane) => [laneId('f', generation, lane), laneId('p', generation, lane)]).flat()

export async function makeRecipients({ opened }: Server): Promise<void> {
  const { directory } = opened.ports
  const tokenHash = createHash('sha256').update(TOKEN).digest()
  const owner = fuzzUser('owner', 'service')
  await directory.create(
    [
      { user: owner, kind: 'service', handle: 'fleet', owner: undefined },
      { user: fuzzUser(VICTIM, 'thing'), kind: 'thing', handle: undefined, owner },
      { user: fuzzUser(BOB, 'person'), kind: 'person', handle: undefined, owner: undefined },
    ],
    [
      { id: 'homesvc', user: owner, number: 1, registrationId: 1, numbered: false, tokenHash },
      { id: VICTIM, user: fuzzUser(VICTIM, 'thing'), number: 1, registrationId: 1, numbered: false, tokenHash },
      {
        id: BOB,
        user: fuzzUser(BOB, 'person'),
        number: 1,
        registrationId: BOB_REGISTRATION,
        numbered: false,
        tokenHash,
      },
    ],
  )
}

/** Those of the generation before are revoked, so that nobody writes to them whose inbox is not looked into. */
export async function makeSenders({ opened }: Server, generation: number): Promise<void> {
  if (generation > 0) for (const id of sendersOf(generation - 1)) await opened.ports.directory.revoke(id)
  const tokenHash = createHash('sha256').update(TOKEN).digest()
  const owner = fuzzUser('owner', 'service')
  const ids = sendersOf(generation)
  const kindOf = (id: string) => (id.startsWith('f') ? 'thing' : 'person')
  await opened.ports.directory.create(
    ids.map((id) => {
      const kind = kindOf(id)
      return { user: fuzzUser(id, kind), kind, handle: undefined, owner: kind === 'thing' ? owner : undefined }
    }),
    ids.map((id) => {
      const number = 1
      return { id, user: fuzzUser(id, kindOf(id)), number, registrationId: 1, numbered: false, tokenHash }
    }),
  )
}

/** The input, its devices renamed to those of the lane: names have one length, so nothing else changes. */
export function renamed(input: Buffer, generation: number, lane: number): Buffer {
  const copy = Buffer.from(input)
  for (const [from, to] of [
    [THING, laneId('f', generation, lane)],
    [NEIGHBOUR, laneId('f', generation, (lane + 1) % LANES)],
    [PERSON, laneId('p', generation, lane)],
  ] as const) {
    for (let at = copy.indexOf(from); at >= 0; at = copy.indexOf(from, at + to.length)) copy.write(to, at, 'latin1')
  }
  return copy
}
