/**
 * Making devices in bulk: from a request of the admin API to accounts and devices, created all or none. Tokens are
 * 256 random bits, told once; the directory gets their SHA-256.
 *
 * Ids: those given, or `prefix` and a counter without leading zeros that begins at the first free number, so that the
 * same command run again goes on where it ended. Numbers of devices: the next that the account never had, 1..127; a
 * revoked device keeps its id and its number.
 */
import { randomBytes, randomInt } from 'node:crypto'
import {
  type Account,
  ConflictFault,
  type Directory,
  type Kind,
  type NewAccount,
  type NewDevice,
} from '../core/ports.ts'
import { ID_BYTES, isDeviceId, isHandle, newUserId, parseUuid, REGISTRATION_ID_MAX, uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import { newToken } from './bearer.ts'
import { ProblemFault } from './problem.ts'

export interface ProvisionRequest {
  readonly kind: Kind
  readonly count?: number
  readonly prefix?: string
  readonly ids?: readonly string[]
  readonly owner?: string
  readonly numbered?: boolean
  readonly user?: string
  readonly registrationId?: number
}

export interface MadeDevice {
  device: string
  user: string
  token: string
  number: number
  registrationId: number
}

export const DEFAULT_OWNER = 'fleet'
/** A conflict is a race or a revoked device; each attempt steps over one, numbers one by one. */
const ATTEMPTS_MAX = 2 * limits.devicesPerUserMax
const DEFAULT_PREFIXES: Readonly<Record<Kind, string>> = { person: 'p', thing: 't', service: 's' }

const malformed = (detail: string): ProblemFault => new ProblemFault('malformed', detail)

/** How many devices, checked as far as the schema cannot. */
function countOf(request: ProvisionRequest): number {
  const { kind, ids, count, owner, user, registrationId, numbered } = request
  if (ids !== undefined && (count !== undefined || request.prefix !== undefined)) {
    throw malformed('Give `ids`, or `count` and `prefix`, not both.')
  }
  if (ids !== undefined && new Set(ids).size < ids.length) throw malformed('`ids` names a device twice.')
  const wrong = ids?.find((id) => !isDeviceId(id))
  if (wrong !== undefined)
    throw malformed(`"${wrong}" is no device id; use 1 to ${limits.deviceIdCharsMax} of a-z 0-9.`)
  // Its token would never be asked for: the user name is that of operators.
  if (ids?.includes('observer') === true) throw malformed('"observer" is the login of operators; use another id.')
  if (kind === 'person' && numbered === true) throw malformed('`numbered` is for things and services.')
  if (kind !== 'person' && user !== undefined) throw malformed('`user` is for devices of a person.')
  if (owner !== undefined && !isHandle(owner)) throw malformed(`"${owner}" is no handle.`)
  const devices = ids?.length ?? count ?? 1
  if (registrationId !== undefined && (kind !== 'person' || devices !== 1)) {
    throw malformed('`registrationId` is for one device of a person.')
  }
  return devices
}

/**
 * The first number from `from` on whose id is not known. Ids of a prefix are contiguous as a rule: the step is
 * doubled until an id is free, then halved; a hole only means that the next conflict is stepped over.
 */
async function firstFree(directory: Directory, prefix: string, from: number): Promise<number> {
  const isTaken = async (number: number) => (await directory.accountOfDevice(`${prefix}${number}`)) !== undefined
  let taken = from - 1
  let step = 1
  while (await isTaken(taken + step)) {
    taken += step
    step *= 2
  }
  while (step > 1) {
    step /= 2
    if (await isTaken(taken + step)) taken += step
  }
  return taken + 1
}

interface Attempt {
  /** Where the counter of ids begins to look. */
  idsFrom: number
  step: number
  /** Numbers of devices up to here are known to be taken, though the account does not show them. */
  numbersAbove: number
}

async function idsOf(
  directory: Directory,
  request: ProvisionRequest,
  count: number,
  attempt: Attempt,
): Promise<string[]> {
  if (request.ids !== undefined) return [...request.ids]
  const prefix = request.prefix ?? DEFAULT_PREFIXES[request.kind]
  const first = await firstFree(directory, prefix, attempt.idsFrom)
  attempt.idsFrom = first
  const ids = Array.from({ length: count }, (_, i) => `${prefix}${first + i}`)
  const last = ids.at(-1) as string
  if (!isDeviceId(last)) {
    throw malformed(`${last} is no device id (1 to ${limits.deviceIdCharsMax} of a-z 0-9); choose another \`prefix\`.`)
  }
  return ids
}

interface Draft {
  accounts: NewAccount[]
  devices: NewDevice[]
  made: MadeDevice[]
}

function addDevice(
  draft: Draft,
  id: string,
  user: Uint8Array,
  number: number,
  registrationId: number,
  numbered: boolean,
) {
  const { token, tokenHash } = newToken()
  draft.devices.push({ id, user, number, registrationId, numbered, tokenHash })
  draft.made.push({ device: id, user: uuidText(user), token, number, registrationId })
}

const freshUser = (kind: 'person' | 'thing'): Uint8Array => newUserId(kind, randomBytes(ID_BYTES))

function numbersOf(account: Account | undefined, count: number, above: number): number[] {
  const used = Math.max(above, ...(account?.devices.map((device) => device.number) ?? []))
  if (used + count > limits.devicesPerUserMax) {
    throw new ProblemFault(
      'too_large',
      `An account has at most ${limits.devicesPerUserMax} devices; ${used} numbers are used.`,
    )
  }
  return Array.from({ length: count }, (_, i) => used + 1 + i)
}

/** The owner's account, drafted when nobody has the handle. */
async function ownerOf(
  directory: Directory,
  draft: Draft,
  handle: string,
): Promise<{ user: Uint8Array; known?: Account }> {
  const known = await directory.accountByHandle(handle)
  if (known !== undefined) return { user: known.user, known }
  const user = freshUser('thing')
  draft.accounts.push({ user, kind: 'service', handle, owner: undefined })
  return { user }
}

const notService = (handle: string): ProblemFault =>
  new ProblemFault('conflict', `@${handle} is no service account; choose another \`owner\`.`)

async function personOf(directory: Directory, text: string): Promise<Account> {
  const user = parseUuid(text)
  const account = user && (await directory.account(user))
  if (account === undefined) throw new ProblemFault('unknown_recipient', `No user has the id ${text}.`)
  if (account.kind !== 'person') throw malformed(`${text} is not a person.`)
  return account
}

async function draftOf(
  directory: Directory,
  request: ProvisionRequest,
  count: number,
  attempt: Attempt,
): Promise<Draft> {
  const { kind, numbered = false } = request
  const ids = await idsOf(directory, request, count, attempt)
  const draft: Draft = { accounts: [], devices: [], made: [] }
  const registrationId = () => request.registrationId ?? 1 + randomInt(REGISTRATION_ID_MAX)
  if (kind === 'thing') {
    const { user: owner, known } = await ownerOf(directory, draft, request.owner ?? DEFAULT_OWNER)
    // A person may own things, but only when that was said.
    if (request.owner === undefined && known?.kind === 'person') throw notService(DEFAULT_OWNER)
    for (const id of ids) {
      const user = freshUser('thing')
      draft.accounts.push({ user, kind, handle: undefined, owner })
      addDevice(draft, id, user, 1, 0, numbered)
    }
  } else if (kind === 'service') {
    const handle = request.owner ?? DEFAULT_OWNER
    const { user, known } = await ownerOf(directory, draft, handle)
    if (known !== undefined && known.kind !== 'service') throw notService(handle)
    const numbers = numbersOf(known, count, attempt.numbersAbove)
    ids.forEach((id, i) => void addDevice(draft, id, user, numbers[i] as number, 0, numbered))
  } else if (request.user !== undefined) {
    const person = await personOf(directory, request.user)
    const numbers = numbersOf(person, count, attempt.numbersAbove)
    ids.forEach((id, i) => void addDevice(draft, id, person.user, numbers[i] as number, registrationId(), false))
  } else {
    for (const id of ids) {
      const user = freshUser('person')
      draft.accounts.push({ user, kind, handle: undefined, owner: undefined })
      addDevice(draft, id, user, 1, registrationId(), false)
    }
  }
  return draft
}

async function takenAmong(directory: Directory, ids: readonly string[]): Promise<string> {
  for (const id of ids) if ((await directory.accountOfDevice(id)) !== undefined) return `${id} is taken.`
  return 'One of the ids belonged to a device that was revoked; ids are not used again.'
}

/**
 * Makes the devices and resolves when they are durable. Atomic: all or none. Throws ProblemFault: `malformed`,
 * `conflict` when an id is taken, `too_large`, `unknown_recipient`.
 */
export async function provision(directory: Directory, request: ProvisionRequest): Promise<MadeDevice[]> {
  const count = countOf(request)
  const attempt: Attempt = { idsFrom: 1, step: 1, numbersAbove: 0 }
  for (let tries = 0; tries < ATTEMPTS_MAX; tries++) {
    const draft = await draftOf(directory, request, count, attempt)
    try {
      await directory.create(draft.accounts, draft.devices)
      return draft.made
    } catch (error) {
      if (!(error instanceof ConflictFault)) throw error
      // A handle: somebody made the owner meanwhile, it is found next time.
      if (error.taken === 'number') attempt.numbersAbove = draft.made[0]?.number ?? 0
      if (error.taken !== 'device') continue
      if (request.ids !== undefined) throw new ProblemFault('conflict', await takenAmong(directory, request.ids))
      attempt.idsFrom += attempt.step
      attempt.step *= 2
    }
  }
  throw new ProblemFault('conflict', 'No free ids were found; choose another `prefix`.')
}
