/**
 * The key directory: a device uploads its public keys, compares and counts them, and takes bundles of others to begin
 * sessions with. A taker is refused beyond its own limits; a device that many take from is answered for without its
 * one-time keys, so that nobody can use them up and nobody can keep first messages from it.
 */
import { timingSafeEqual } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { appendOwn, noticeEnvelope } from '../core/own-envelopes.ts'
import type { Person, PersonDevice, Ports, PrekeyBundle } from '../core/ports.ts'
import { keysDigest, lowNotice, refusedMs, spendsOneTime, type TakeWaits, verifyUpload } from '../core/prekeys.ts'
import { errorOf } from '../topics/errors.ts'
import { parseUuid, uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { personOf, principalOf, deviceSecurity as security } from './authorise.ts'
import { bundleSchema, keyUploadSchema, parseKeyUpload, showPrekey, showSigned } from './key-schema.ts'
import { HOUR_MS, limitTo } from './limit.ts'
import { ProblemFault } from './problem.ts'
import { BODY_BYTES_SMALL, bytesOf, bytesText, closed, none, problems, textOf, uuid } from './shapes.ts'

const DAY_MS = 24 * HOUR_MS
const DIGEST_BYTES = 32
const tags = ['keys']
const accountKeys = Type.Object({ user: uuid, identityKey: Type.String(), devices: Type.Array(bundleSchema) })
type AccountKeys = Static<typeof accountKeys>
/** Each is answered once: nobody in between may keep it, and HEAD, which spends keys for nothing, is not served. */
const TAKEN = { exposeHeadRoute: false, bodyLimit: BODY_BYTES_SMALL }

/** One answer for whoever is not known, is no person, or was erased. */
const unknownUser = (): ProblemFault => new ProblemFault('unknown_recipient', 'No such user, or it has no keys.')
const unknownDevice = (): ProblemFault => new ProblemFault('unknown_recipient', 'The user has no such device.')

/** A device whose keys are asked for. */
interface Asked {
  readonly person: Person
  readonly device: PersonDevice
}

const waitS = (ms: number): number => Math.ceil(ms / 1_000)

/** Takes from the taker's bucket. Also who asks in vain has asked. */
async function countTaker({ limiter }: Ports, taker: string, bundles: number): Promise<void> {
  const most = limits.bundlesPerTakerPerDayMax
  const waitMs = await limiter.take('bundles by taker', taker, most, DAY_MS / most, Math.max(1, bundles))
  if (waitMs > 0) throw new ProblemFault('rate_limited', 'Too many bundles in a day; wait.', waitS(waitMs))
}

/** Takes from the buckets of what is asked for; gives for each whether it may spend. */
async function countTargets({ limiter }: Ports, taker: string, asked: readonly Asked[]): Promise<boolean[]> {
  const waits: TakeWaits[] = []
  for (const { device } of asked) {
    const pair = `${taker} ${device.id} ${device.registrationId}`
    const [burst, everyMs] = [limits.bundlesPerPairBurst, limits.bundlesPerPairEveryMs]
    const pairMs = await limiter.take('bundles by pair', pair, burst, everyMs)
    const most = limits.bundlesPerTargetPerHourMax
    // Who is over the limit of the pair spends nothing of the target either.
    const targetMs = pairMs > 0 ? 0 : await limiter.take('bundles by target', device.id, most, HOUR_MS / most)
    waits.push({ pairMs, targetMs })
  }
  const refused = waits.length === 0 ? 0 : refusedMs(waits.map(({ pairMs }) => pairMs))
  if (refused > 0) {
    throw new ProblemFault('rate_limited', 'This device took too many bundles of that one; wait.', waitS(refused))
  }
  return waits.map(spendsOneTime)
}

/** Tells devices that few one-time keys are left. A hint, as they count for themselves whenever they connect. */
async function tellLow(ports: Ports, asked: readonly Asked[], bundles: readonly (PrekeyBundle | undefined)[]) {
  const notices = asked.flatMap(({ device }, i) => {
    const left = bundles[i]?.left
    const counts = left && lowNotice(left)
    return counts === undefined ? [] : [noticeEnvelope(ports.intake.shards, [device.id], { prekeysLow: counts })]
  })
  if (notices.length === 0) return
  try {
    await appendOwn(ports, notices)
  } catch (error) {
    ports.log.warn({ error: (error as Error).message }, 'devices were not told that prekeys are low')
  }
}

/** Bundles of all that is asked for, by person. A device that ended meanwhile is left out. */
async function take(ports: Ports, taker: string, persons: readonly Person[], number?: number): Promise<AccountKeys[]> {
  const asked = persons.flatMap((person) =>
    person.devices
      .filter(({ id }) => id !== taker)
      .filter((device) => number === undefined || device.number === number)
      .map((device): Asked => ({ person, device })),
  )
  await countTaker(ports, taker, asked.length)
  if (number !== undefined && asked.length === 0) throw unknownDevice()
  const spends = await countTargets(ports, taker, asked)
  const bundles = await ports.keys.take(
    asked.map(({ device }, i) => ({ device: device.id, spend: spends[i] === true })),
  )
  await tellLow(ports, asked, bundles)
  const shown = asked.map(({ device }, i) => showBundle(device, bundles[i]))
  return persons.map((person) => ({
    user: uuidText(person.user),
    identityKey: textOf(person.identityKey),
    devices: shown.filter((_, i) => asked[i]?.person === person).filter((bundle) => bundle !== undefined),
  }))
}

function showBundle({ number, registrationId }: PersonDevice, bundle: PrekeyBundle | undefined) {
  if (bundle === undefined) return undefined
  const { signedPrekey, oneTimePrekey, kemPrekey } = bundle
  return {
    number,
    registrationId,
    signedPrekey: showSigned(signedPrekey),
    ...(oneTimePrekey && { oneTimePrekey: showPrekey(oneTimePrekey) }),
    kemPrekey: showSigned(kemPrekey),
  }
}

/** The person with that id as text, or the answer that there is none. */
async function personNamed(ports: Ports, text: string): Promise<Person> {
  const user = parseUuid(text.toLowerCase())
  const person = user && (await ports.accounts.person(user))
  if (person === undefined) throw unknownUser()
  return person
}

function ownRoutes(app: App, ports: Ports): void {
  const { keys, limiter } = ports
  app.put(
    '/v1/keys',
    {
      schema: {
        summary: 'Upload public keys of this device',
        description: 'A list replaces all keys of its kind. All or nothing is stored.',
        tags,
        security,
        body: keyUploadSchema,
        response: none,
      },
    },
    async (request, reply) => {
      const { id } = principalOf(request).device
      const most = limits.keyUploadsPerDevicePerHourMax
      await limitTo(limiter, 'key uploads', id, most, HOUR_MS, 'This device uploaded keys too often; wait.')
      const { identityKey } = await personOf(ports, request)
      const upload = parseKeyUpload(request.body)
      const fault = verifyUpload(identityKey, upload)
      if (fault !== undefined) throw new ProblemFault(fault, errorOf(fault).about)
      const isWhole = upload.signedPrekey !== undefined && upload.lastResortPrekey !== undefined
      if (!isWhole && (await keys.repeated(id)) === undefined) {
        throw new ProblemFault('key_invalid', 'This device has no keys yet; send signedPrekey and lastResortPrekey.')
      }
      await keys.put(id, upload)
      return reply.code(204).send(null)
    },
  )
  app.get(
    '/v1/keys/count',
    {
      schema: {
        summary: 'Count the one-time keys of this device that are left',
        tags,
        security,
        response: { 200: Type.Object({ ec: Type.Integer(), kem: Type.Integer() }), ...problems },
      },
    },
    async (request) => await keys.count(principalOf(request).device.id),
  )
  app.post(
    '/v1/keys/check',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Compare the keys that are used again with what the server has of this device',
        description:
          'SHA-256 of identityKey, signedPrekey.id, signedPrekey.key, lastResortPrekey.id, lastResortPrekey.key; ' +
          'ids as 4 bytes, big-endian. 409 `keys_differ`: upload them again.',
        tags,
        security,
        body: Type.Object({ digest: bytesText(DIGEST_BYTES, DIGEST_BYTES) }, closed),
        response: none,
      },
    },
    async (request, reply) => {
      const digest = bytesOf(request.body.digest, 'digest')
      const { identityKey } = await personOf(ports, request)
      const known = await keys.repeated(principalOf(request).device.id)
      const isSame =
        known !== undefined &&
        timingSafeEqual(digest, keysDigest(identityKey, known.signedPrekey, known.lastResortPrekey))
      if (!isSame) throw new ProblemFault('keys_differ', errorOf('keys_differ').about)
      return reply.code(204).send(null)
    },
  )
}

const user = Type.String({ description: 'UUID of the user.' })
const summary = 'Take prekey bundles'

function bundleRoutes(app: App, ports: Ports): void {
  app.get(
    '/v1/keys/:user',
    {
      ...TAKEN,
      schema: {
        summary: `${summary} of the devices of a user, but the one that asks`,
        description: 'One-time keys that are given here are gone. Without one: none is left, or many ask.',
        tags,
        security,
        params: Type.Object({ user }),
        response: { 200: accountKeys, ...problems },
      },
    },
    async (request, reply) => {
      const person = await personNamed(ports, request.params.user)
      const [taken] = await take(ports, principalOf(request).device.id, [person])
      reply.header('cache-control', 'no-store')
      return taken as AccountKeys
    },
  )
  app.get(
    '/v1/keys/:user/:number',
    {
      ...TAKEN,
      schema: {
        summary: `${summary} of one device of a user`,
        tags,
        security,
        params: Type.Object({ user, number: Type.String({ description: 'Number of the device: 1..127.' }) }),
        response: { 200: accountKeys, ...problems },
      },
    },
    async (request, reply) => {
      const person = await personNamed(ports, request.params.user)
      const number = /^[1-9][0-9]{0,2}$/.test(request.params.number) ? Number(request.params.number) : 0
      const [taken] = await take(ports, principalOf(request).device.id, [person], number)
      reply.header('cache-control', 'no-store')
      return taken as AccountKeys
    },
  )
}

function batchRoute(app: App, ports: Ports): void {
  app.post(
    '/v1/keys/batch',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: `${summary} of the devices of many users; who is not known is left out`,
        tags,
        security,
        body: Type.Object(
          {
            users: Type.Array(uuid, { minItems: 1, maxItems: limits.bundleUsersPerRequestMax, uniqueItems: true }),
          },
          closed,
        ),
        response: { 200: Type.Object({ accounts: Type.Array(accountKeys) }), ...problems },
      },
    },
    async (request, reply) => {
      const persons = new Map<string, Person>()
      for (const text of request.body.users) {
        const id = parseUuid(text.toLowerCase())
        const person = id && (await ports.accounts.person(id))
        if (person !== undefined) persons.set(text.toLowerCase(), person)
      }
      const accounts = await take(ports, principalOf(request).device.id, [...persons.values()])
      reply.header('cache-control', 'no-store')
      return { accounts }
    },
  )
}

/** The routes under /v1/keys, of a scope that knows who asks. */
export function keysRoutes(app: App, ports: Ports): void {
  ownRoutes(app, ports)
  bundleRoutes(app, ports)
  batchRoute(app, ports)
}
