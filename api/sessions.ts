/**
 * A session begins: a code proves the phone number, or a link token the consent of the primary device. The keys are
 * verified first, so that nobody spends a code on keys that cannot be.
 *
 * A new number makes an account. A known one with the account's identity key replaces the primary device, and linked
 * ones stay. A known one with another identity key makes the account begin anew: all its devices end, and contacts see
 * that the identity has changed.
 */
import { randomBytes } from 'node:crypto'
import { Type } from 'typebox'
import type { Secret } from '../core/config.ts'
import { codeHashOf, phoneHashOf } from '../core/phone.ts'
import { ConflictFault, IdentityFault, type Person, type Ports } from '../core/ports.ts'
import { ID_BYTES, newUserId, uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { hashOfToken } from './bearer.ts'
import { addressOf, HOUR_MS, limitTo } from './limit.ts'
import { deviceProperties, type FreshDevice, freshDevice, numbersFull, session, sessionOf } from './new-device.ts'
import { ProblemFault } from './problem.ts'
import { DEFAULT_OWNER } from './provision.ts'
import { phoneKeyOf, phoneOf } from './registrations.ts'
import { endDevices, tellDevices } from './revoke.ts'
import { type Bounds, closed, handle, name, phone, problems } from './shapes.ts'

const body = Type.Object(
  {
    phone: Type.Optional(phone),
    code: Type.Optional(Type.String({ pattern: `^[0-9]{${limits.codeDigits}}$` })),
    linkToken: Type.Optional(
      Type.String({ minLength: 1, maxLength: limits.tokenBytesMax, description: 'Instead of `phone` and `code`.' }),
    ),
    handle: Type.Optional(handle),
    name: Type.Optional(name),
    ...deviceProperties,
  },
  closed,
)

interface Begun {
  readonly user: Uint8Array
  readonly number: number
}

/** A race is lost once as a rule: somebody else registered the number, or began the account anew. */
const ATTEMPTS_MAX = 5

export interface SessionParts {
  readonly ports: Ports
  readonly phoneKey: Secret
  readonly bounds: Bounds
  ws(): string
}

async function registerNew(
  { accounts }: Ports,
  phoneHash: Uint8Array,
  { identityKey, device }: FreshDevice,
  wanted: string | undefined,
): Promise<Begun> {
  const user = newUserId('person', randomBytes(ID_BYTES))
  return { user, number: await accounts.register({ user, handle: wanted, phoneHash, identityKey }, device) }
}

/** The account of a known number gets a new primary device. */
async function replacePrimary(
  ports: Ports,
  person: Person,
  { identityKey, device }: FreshDevice,
  wanted: string | undefined,
): Promise<Begun> {
  const primary = person.devices.filter(({ isPrimary }) => isPrimary).map(({ id }) => id)
  const { number, ended } = await ports.accounts.replace(person.user, identityKey, primary, device, wanted)
  await endDevices(ports, ended)
  await tellDevices(ports, person.user, device.id)
  return { user: person.user, number }
}

/**
 * An account that has had all its device numbers is given up, and its owner gets a new one: else the number could
 * never be registered again.
 */
async function beginOver(
  ports: Ports,
  person: Person,
  phoneHash: Uint8Array,
  fresh: FreshDevice,
  wanted: string | undefined,
): Promise<Begun> {
  await endDevices(ports, await ports.accounts.erase(person.user))
  return registerNew(ports, phoneHash, fresh, wanted ?? person.handle)
}

async function begin(
  ports: Ports,
  phoneHash: Uint8Array,
  fresh: FreshDevice,
  wanted: string | undefined,
): Promise<Begun> {
  for (let attempts = 1; ; attempts++) {
    const person = await ports.accounts.personByPhone(phoneHash)
    try {
      if (person === undefined) return await registerNew(ports, phoneHash, fresh, wanted)
      return await replacePrimary(ports, person, fresh, wanted)
    } catch (error) {
      const taken = error instanceof ConflictFault ? error.taken : undefined
      if (taken === 'number' && person !== undefined) return beginOver(ports, person, phoneHash, fresh, wanted)
      const isRace = taken === 'phone' || error instanceof IdentityFault
      if (!isRace || attempts === ATTEMPTS_MAX) throw error
    }
  }
}

/** With a code. The answer to a wrong number, a wrong code and one that is too old is one. */
async function beginByCode(
  { ports, phoneKey }: SessionParts,
  asked: { phone: string; code: string; handle?: string },
  fresh: FreshDevice,
): Promise<Begun> {
  const number = phoneOf(asked.phone)
  const key = phoneKeyOf(phoneKey, number)
  const codeHash = codeHashOf(phoneKey, number, asked.code)
  const spent = await ports.codes.spend(key, codeHash)
  if (spent === undefined) {
    throw new ProblemFault('code_wrong', 'The code is wrong, used or too old; ask for another one.')
  }
  try {
    return await begin(ports, phoneHashOf(phoneKey, number), fresh, asked.handle)
  } catch (error) {
    // The code was right, and nothing was done: it is as good as before, with its tries and its end, and no better.
    await ports.codes.giveBack(key, codeHash, spent)
    if (!(error instanceof ConflictFault) || error.taken !== 'handle') throw error
    throw new ProblemFault('conflict', `@${asked.handle} is taken; choose another handle. The code is still good.`)
  }
}

/** Why an account has no number for a linked device. `before` and now: one that was full may have room by now. */
async function fullFault({ accounts }: Ports, before: Person): Promise<ProblemFault> {
  const now = await accounts.person(before.user)
  const most = limits.linkedDevicesMax
  if (before.devices.length <= most && (now?.devices.length ?? 0) <= most) return numbersFull()
  return new ProblemFault('devices_full', `An account has at most ${most} linked devices; remove one, then link again.`)
}

async function beginByLink(ports: Ports, linkToken: string, fresh: FreshDevice): Promise<Begun> {
  const user = await ports.links.redeem(hashOfToken(linkToken))
  const person = user && (await ports.accounts.person(user))
  if (person === undefined) throw new ProblemFault('link_expired', 'The link is used or too old; begin linking again.')
  try {
    const number = await ports.accounts.link(person.user, fresh.identityKey, fresh.device)
    await tellDevices(ports, person.user, fresh.device.id)
    return { user: person.user, number }
  } catch (error) {
    if (error instanceof IdentityFault) {
      throw new ProblemFault('identity_differs', 'Use the identity key that the primary device sent; link again.')
    }
    if (!(error instanceof ConflictFault) || error.taken !== 'number') throw error
    throw await fullFault(ports, person)
  }
}

export function sessionRoutes(app: App, parts: SessionParts): void {
  const { ports, bounds, ws } = parts
  app.post(
    '/v1/sessions',
    {
      schema: {
        summary: 'Begin the session of a new device: with a code, or with a link token',
        tags: ['accounts'],
        body,
        response: { 201: session, ...problems },
      },
    },
    async (request, reply) => {
      const { phone: typed, code, linkToken, handle: wanted } = request.body
      const isLink = linkToken !== undefined && typed === undefined && code === undefined && wanted === undefined
      const isCode = linkToken === undefined && typed !== undefined && code !== undefined
      if (!isLink && !isCode) {
        throw new ProblemFault('malformed', 'Send `phone` and `code`, with a `handle` if you like, or `linkToken`.')
      }
      // Whoever had it would own every thing that is provisioned without an owner's name.
      if (wanted === DEFAULT_OWNER) throw new ProblemFault('conflict', `@${wanted} is taken; choose another handle.`)
      const fresh = freshDevice(request.body)
      const tries = bounds.codeTriesPerAddressPerHourMax
      const often = 'Too many codes were tried from here; wait.'
      await limitTo(ports.limiter, 'code-tries', addressOf(request.ip), tries, HOUR_MS, often)
      const { user, number } = isLink
        ? await beginByLink(ports, linkToken, fresh)
        : await beginByCode(
            parts,
            { phone: typed as string, code: code as string, ...(wanted === undefined ? {} : { handle: wanted }) },
            fresh,
          )
      ports.log.info({ device: fresh.device.id, user: uuidText(user), linked: isLink }, 'a session began')
      reply.code(201).header('cache-control', 'no-store')
      return sessionOf(ports, user, fresh, number, ws())
    },
  )
}
