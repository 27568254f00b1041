/**
 * The scene of the bad-input tests: a real server, attackers of every kind, victims, and two pairs who only want to
 * talk. `assertAttack` sends one hostile input over a real socket and holds the server to all that it promises about
 * it.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { DisconnectReason } from '../../topics/disconnects.ts'
import { type ErrorCode, errorCodeOf } from '../../topics/errors.ts'
import { messageType, oracleBytes } from '../wire/oracle.ts'
import { type Client, clientOn, type Received } from '../world/client.ts'
import { OBSERVER_PASSWORD, startWorld, type TestDevice, type World } from '../world/world.ts'
import { unsubscribeBytes } from './bytes.ts'

/** Stands in every hostile payload: it may be found nowhere afterwards. */
export const CANARY = 'canary-4c1d2e9b'

/** `nobody` has not logged in: the bytes are the first of the connection. */
export type Login = 'nobody' | 'thing' | 'person' | 'observer'

/**
 * `close`: nothing but the end. `error`: a refusal on the device's inbox topic, then PUBACK, and the connection
 * stays.
 */
export type Answer =
  | 'close'
  | { readonly connack: number }
  | { readonly suback: readonly number[] }
  | { readonly error: ErrorCode }

export interface Cast {
  /** The attacker's own device; of an observer or nobody: a thing that exists. */
  readonly me: TestDevice
  readonly victim: TestDevice
  readonly bob: TestDevice
  readonly amy: TestDevice
  /** A thing of another owner. */
  readonly stranger: TestDevice
  /** Above every stamp that was used before. */
  stamp(): number
}

export interface Attack {
  /** The end of a sentence that begins with the title of its suite. */
  readonly name: string
  readonly as: Login
  readonly bytes: (cast: Cast) => Uint8Array
  readonly answer: Answer
  /** The one counter that goes up. */
  readonly counted: DisconnectReason | ErrorCode
}

export interface Scene {
  readonly world: World
  readonly attackers: { readonly [login in Login]: TestDevice }
  readonly ann: Client
  readonly amyClient: Client
  castOf(me: TestDevice): Cast
  /** The victims get `text` from their friends, and nothing else. */
  assertUntouched(text: string): Promise<void>
  stop(): Promise<void>
}

/** Connecting once a minute is never too often. */
export const MINUTE_MS = 61_000

export async function startScene(env: Record<string, string> = {}): Promise<Scene> {
  const world = await startWorld({ env })
  const thing = await world.thing('mallory')
  const person = await world.person('eve')
  const victim = await world.thing('victim')
  const bob = await world.person('bob')
  const amy = await world.person('amy')
  const stranger = await world.thing('stranger', await world.service('othersvc', 'others'))
  const ann = await world.connect(await world.thing('ann'))
  const amyClient = await world.connect(amy)
  await amyClient.subscribe('d/amy/in')
  for (const [device, filter] of [
    [victim, 'd/victim/from/#'],
    [bob, 'd/bob/in'],
  ] as const) {
    const client = await world.connect(device)
    await client.subscribe(filter)
    await client.disconnect()
  }
  let stamp = Date.now()
  const scene: Scene = {
    world,
    attackers: { nobody: thing, thing, person, observer: thing },
    ann,
    amyClient,
    castOf: (me) => ({ me, victim, bob, amy, stranger, stamp: () => ++stamp }),
    async assertUntouched(text) {
      world.clock.offsetMs += MINUTE_MS
      await ann.publish('d/ann/raw/d-victim', text)
      await amyClient.publish('d/amy/out', pairBytes(bob, ++stamp, text))
      for (const device of [victim, bob]) {
        const client = await world.connect(device)
        const [first] = await client.receive(1)
        assert.ok(first?.payload.includes(text), `${device.id} got something else first: ${first?.topic}`)
        await client.ping()
        await client.disconnect()
        assert.equal(client.received.filter(({ qos }) => qos === 1).length, 1, `${device.id} got more than one message`)
      }
    },
    async stop() {
      await world.stop()
      assert.deepEqual(world.fatal, [])
    },
  }
  return scene
}

/** A SendRequest with one body for the first device of `peer`. */
export function pairBytes(peer: TestDevice, stamp: number, body: string | Uint8Array): Uint8Array {
  const { number: device, registrationId } = peer
  const devices = [{ whisper: typeof body === 'string' ? Buffer.from(body) : body, device, registrationId }]
  return oracleBytes('SendRequest', { stamp, pair: { peer: peer.user, devices } })
}

/** A connection, logged in if the attack wants it, and able to hear refusals. */
export async function openAttack(scene: Scene, as: Login, me: TestDevice, subscribes: boolean): Promise<Client> {
  const { world } = scene
  if (as === 'nobody') return rawClient(world.server.mqttPort)
  if (as === 'observer') {
    return world.connect(me, { clientId: 'ops', username: 'observer', password: OBSERVER_PASSWORD, clean: true })
  }
  const client = await world.connect(me)
  assert.equal(client.connack?.returnCode, 0)
  if (!subscribes) return client
  await client.subscribe(inboxFilter(me))
  // A person is told that it has caught up; nothing else is on its way then.
  if (me.kind === 'person') await client.until((c) => c.received.length === 1, 'the caught-up marker')
  return client
}

export function inboxFilter(device: TestDevice): string {
  return device.kind === 'person' ? `d/${device.id}/in` : `d/${device.id}/from/#`
}

/** A socket without CONNECT. */
export function rawClient(port: number): Promise<Client> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => resolve(clientOn(socket, true)))
  })
}

type Counters = ReadonlyMap<string, number>

/** All counters of endings and refusals by name. */
export function countersOf(world: World): Counters {
  const { rejected, disconnects, refused } = world.server.metrics
  return new Map([rejected, disconnects, refused].flatMap((counters) => Object.entries(counters)))
}

/**
 * What went up since, and by how much. The names of the three families differ, but for some that one event cannot
 * raise twice.
 */
export function raised(before: Counters, after: Counters): Record<string, number> {
  const entries = [...after].map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const)
  return Object.fromEntries(entries.filter(([, more]) => more !== 0))
}

export async function assertAttack(scene: Scene, attack: Attack): Promise<void> {
  const { world } = scene
  const me = scene.attackers[attack.as]
  world.clock.offsetMs += MINUTE_MS
  const isRefusal = typeof attack.answer === 'object' && 'error' in attack.answer
  const client = await openAttack(scene, attack.as, me, isRefusal)
  const from = client.packets.length
  const before = countersOf(world)
  const logged = world.logged.length
  client.sendBytes(attack.bytes(scene.castOf(me)))
  await assertAnswer(client, from, attack.answer, me)
  assert.deepEqual(raised(before, countersOf(world)), { [attack.counted]: 1 })
  const lines = world.logged.slice(logged)
  assert.equal(lines.length, 1, `one line in the log, not ${JSON.stringify(lines)}`)
  assert.equal((lines[0]?.facts as { reason?: string } | undefined)?.reason, attack.counted)
  assertNoCanary(world)
  if (!client.isClosed) await client.disconnect()
  if (typeof attack.answer === 'object' && 'suback' in attack.answer)
    await assertNotRemembered(scene, me, attack.answer.suback)
  await scene.assertUntouched(`after ${attack.name}`)
}

async function assertAnswer(client: Client, from: number, answer: Answer, me: TestDevice): Promise<void> {
  const came = () => client.packets.slice(from)
  if (answer === 'close' || 'connack' in answer) {
    await client.closed()
    const codes = came().map((packet) => (packet.cmd === 'connack' ? packet.returnCode : packet.cmd))
    assert.deepEqual(codes, answer === 'close' ? [] : [answer.connack])
    return
  }
  const last = 'suback' in answer ? 'suback' : 'puback'
  await client.until((c) => c.isClosed || came().some(({ cmd }) => cmd === last), last)
  if ('suback' in answer) {
    const [suback] = came()
    assert.deepEqual(suback?.cmd === 'suback' && [...(suback.granted as number[])], answer.suback)
    assert.deepEqual(client.received.filter(isMessage), [])
    return
  }
  const kinds = came().map(({ cmd }) => cmd)
  assert.deepEqual(kinds, ['publish', 'puback'])
  assert.equal(refusalIn(client, me), answer.error)
}

const isMessage = ({ qos }: Received): boolean => qos === 1

/** The code of the last refusal that the device was told. */
export function refusalIn(client: Client, me: TestDevice): string {
  const told = client.received.at(-1)
  assert.equal(told?.qos, 0)
  if (me.kind !== 'person') return told.topic.replace(`d/${me.id}/from/error/`, '')
  assert.equal(told.topic, `d/${me.id}/in`)
  const { error } = messageType('Delivery').toObject(messageType('Delivery').decode(told.payload)) as {
    error?: { code: number }
  }
  return errorCodeOf(error?.code ?? 0) ?? 'none'
}

/** What was denied is not there after a reconnect either. */
async function assertNotRemembered(scene: Scene, me: TestDevice, granted: readonly number[]): Promise<void> {
  const back = await scene.world.connect(me)
  assert.equal(back.connack?.sessionPresent, granted.includes(1))
  // The part that was granted is taken back, so that the next attack begins where this one did.
  back.sendBytes(unsubscribeBytes([inboxFilter(me)]))
  await back.until((c) => c.packets.some(({ cmd }) => cmd === 'unsuback'), 'UNSUBACK')
  await back.disconnect()
  assert.deepEqual(back.received.filter(isMessage), [])
}

/** The canary is in no line of the log. */
export function assertNoCanary(world: World): void {
  assert.equal(JSON.stringify(world.logged).includes(CANARY), false, 'a payload is in the log')
}

/** Nor in any file of the store. */
export function assertNotStored(world: World, text: string): void {
  for (const name of readdirSync(world.folder)) {
    assert.equal(readFileSync(join(world.folder, name)).includes(text), false, `${text} is in ${name}`)
  }
}

/** The reason for which the last connection of the world was ended, by the log. */
export function lastReason(world: World): string | undefined {
  return (world.logged.at(-1)?.facts as { reason?: string } | undefined)?.reason
}

/** Resolves when the connection stays open through a whole exchange. */
export async function assertStays(client: Client): Promise<void> {
  await client.ping()
  assert.equal(client.isClosed, false)
}

export async function assertEnded(world: World, client: Client, reason: string): Promise<void> {
  await client.closed()
  assert.equal(lastReason(world), reason)
}

/** Asks again and again at every turn of the event loop; a test that waits in vain is ended by mocha. */
export async function until(test: () => boolean): Promise<void> {
  while (!test()) await new Promise((resolve) => setImmediate(resolve))
}
