/**
 * `npm run demo`: shows what the server promises, in plain sentences, and checks it. On the server that runs, else on
 * one of its own; what kills a server kills its own. Exit code 0: every promise was kept.
 */
import { randomBytes } from 'node:crypto'
import { parseArgs, styleText } from 'node:util'
import { topicOf } from '../topics/topic.ts'
import type { MadeDevice } from './admin-client.ts'
import { type Arrival, type DemoDevice, openDevice } from './demo-device.ts'
import { letPeopleTalk } from './demo-people.ts'
import { assertKept, BrokenPromise } from './demo-promise.ts'
import { type DemoServer, findServer, type OwnServer, startOwnServer } from './demo-server.ts'

const HELP = `Usage: npm run demo

Shows what Heliograph promises, in half a minute at most, and checks it. Uses the
server that runs here, or the one at HELIOGRAPH_URL (http://host:port, with
ADMIN_TOKEN), else one of its own; only its own is killed.
`
const WHOLE_MS_MAX = 28_000
const WAITING = 500
const STREAM = 1_000
const STREAM_OPEN_MAX = 50
const KILL_AFTER = 300

const say = (text: string): void => void process.stdout.write(`${text}\n`)
const title = (text: string): void => say(`\n${styleText('bold', text, { stream: process.stdout })}`)
const kept = (text: string): void => say(`  ${styleText('green', 'ok', { stream: process.stdout })}  ${text}`)
const seconds = (sinceMs: number): string => `${((performance.now() - sinceMs) / 1_000).toFixed(2)} s`

interface Cast {
  readonly sensor: MadeDevice
  readonly lamp: MadeDevice
  readonly home: MadeDevice
}

const rawTopic = (from: string, to: string): string => topicOf('raw', { device: from, to })
const numberedTopic = (from: string, to: string, n: number): string =>
  topicOf('rawNumbered', { device: from, to, n: String(n) })

/** The last level of a numbered thing's topic: the message's number in its conversation. */
const seqOf = (arrival: Arrival): number => Number(arrival.topic.slice(arrival.topic.lastIndexOf('/') + 1))

/** What is left when repeats are dropped, as a plain client can: by the number in the topic. */
function withoutRepeats(arrivals: readonly Arrival[]): Arrival[] {
  const first = new Map<number, Arrival>()
  for (const arrival of arrivals) {
    const known = first.get(seqOf(arrival))
    assertKept(known === undefined || known.text === arrival.text, 'One number stood for two different messages.')
    assertKept(known === undefined || arrival.isRepeat, 'A message came again without the mark of a repeat.')
    if (known === undefined) first.set(seqOf(arrival), arrival)
  }
  return [...first.values()]
}

/** Exactly these texts, in this order, under rising numbers. */
function assertArrived(arrivals: readonly Arrival[], texts: readonly string[], to: string): void {
  const missing = texts.filter((text) => !arrivals.some((arrival) => arrival.text === text))
  assertKept(missing.length === 0, `${missing.length} messages to ${to} were acknowledged and lost: ${missing[0]} …`)
  assertKept(arrivals.length === texts.length, `${to} got ${arrivals.length} different messages of ${texts.length}.`)
  arrivals.forEach((arrival, i) => {
    assertKept(arrival.text === texts[i], `${to} got "${arrival.text}" where "${texts[i]}" belongs.`)
    const before = arrivals[i - 1]
    assertKept(before === undefined || seqOf(before) < seqOf(arrival), `The numbers to ${to} do not rise.`)
  })
}

async function provision({ admin }: DemoServer): Promise<Cast> {
  title('1. Two things and a service')
  const owner = `demo.${randomBytes(4).toString('hex')}`
  const [sensor, lamp] = await admin.make({ kind: 'thing', prefix: 'demo', count: 2, owner, numbered: true })
  const [home] = await admin.make({ kind: 'service', prefix: 'demo', owner })
  if (sensor === undefined || lamp === undefined || home === undefined) throw new BrokenPromise('No devices were made.')
  say(`  ${sensor.device} is a sensor and ${lamp.device} a lamp; ${home.device} is the service that owns them.`)
  say('  Any MQTT 3.1.1 client can be one of them. Here it is MQTT.js, three times.')
  return { sensor, lamp, home }
}

async function bothWays(server: DemoServer, { sensor, lamp, home }: Cast): Promise<void> {
  title('2. A reading, and a command')
  const service = await openDevice(server.mqttUrl, home, true)
  const reader = await openDevice(server.mqttUrl, sensor, false)
  const light = await openDevice(server.mqttUrl, lamp, true)
  await reader.send(rawTopic(sensor.device, 'home'), '21.5 C')
  const [reading] = await service.receive(1)
  say(`  ${sensor.device} publishes "21.5 C" to home. ${home.device} gets it as`)
  say(`    ${reading?.topic}`)
  const [, , , sender = ''] = reading?.topic.split('/') ?? []
  assertKept(reading?.text === '21.5 C' && sender === `d-${sensor.device}`, `${home.device} got something else.`)
  await service.send(rawTopic(home.device, `d-${lamp.device}`), 'on')
  const [command] = await light.receive(1)
  say(`  ${home.device} publishes "on" to ${lamp.device}, which gets it as`)
  say(`    ${command?.topic}`)
  assertKept(command?.text === 'on', `${lamp.device} got something else.`)
  kept('Both arrived, byte for byte.')
  await Promise.all([service, reader, light].map((device) => device.leave()))
}

async function away(server: DemoServer, { sensor, lamp }: Cast): Promise<void> {
  title('3. Away for a while')
  const reader = await openDevice(server.mqttUrl, sensor, false)
  const topic = rawTopic(sensor.device, `d-${lamp.device}`)
  const texts = Array.from({ length: WAITING }, (_, i) => `while you were away ${i + 1}`)
  let fromMs = performance.now()
  for (let at = 0; at < texts.length; at += STREAM_OPEN_MAX) {
    await Promise.all(texts.slice(at, at + STREAM_OPEN_MAX).map((text) => reader.send(topic, text)))
  }
  say(`  ${lamp.device} is offline. ${sensor.device} sends it ${WAITING} messages and has`)
  say(`  ${WAITING} PUBACKs after ${seconds(fromMs)}: each left after its message was on disk.`)
  fromMs = performance.now()
  // No SUBSCRIBE: the subscription of before is remembered.
  const light = await openDevice(server.mqttUrl, lamp, false)
  await light.receive(WAITING)
  say(`  ${lamp.device} comes back and has them all after ${seconds(fromMs)}, in one connection.`)
  await reader.send(topic, 'and live again')
  await light.receive(WAITING + 1)
  assertArrived(withoutRepeats(light.arrivals), [...texts, 'and live again'], lamp.device)
  assertKept(light.connections() === 1, `${lamp.device} needed ${light.connections()} connections.`)
  kept(`${WAITING} of ${WAITING} in order, and the live message behind them.`)
  await Promise.all([reader.leave(), light.leave()])
}

async function onceOnly(server: DemoServer, { sensor, lamp }: Cast): Promise<void> {
  title('4. Sent twice, shown once')
  const reader = await openDevice(server.mqttUrl, sensor, false)
  const light = await openDevice(server.mqttUrl, lamp, false)
  const topic = (n: number) => numberedTopic(sensor.device, `d-${lamp.device}`, n)
  await reader.send(topic(1), 'open the gate')
  await reader.send(topic(1), 'open the gate')
  await reader.send(topic(2), 'close the gate')
  await light.until(() => light.arrivals.some(({ text }) => text === 'close the gate'), 'the second command')
  say(`  ${sensor.device} sends its message number 1, sees no PUBACK, and sends it again; then`)
  say('  number 2. The server acknowledges all three and keeps number 1 once.')
  assertArrived(withoutRepeats(light.arrivals), ['open the gate', 'close the gate'], lamp.device)
  assertKept(light.arrivals.length === 2, `${lamp.device} got ${light.arrivals.length} messages instead of 2.`)
  kept(`${lamp.device} got number 1 once and number 2 once.`)
  await Promise.all([reader.leave(), light.leave()])
}

/** Sends `texts` numbered from 10 on, at most STREAM_OPEN_MAX at once; `onAck` hears how many have a PUBACK. */
async function stream(
  from: DemoDevice,
  to: string,
  texts: readonly string[],
  onAck: (acked: number) => void,
): Promise<void> {
  let next = 0
  let acked = 0
  async function lane(): Promise<void> {
    while (next < texts.length) {
      const i = next++
      await from.send(numberedTopic(from.id, to, 10 + i), texts[i] as string)
      onAck(++acked)
    }
  }
  await Promise.all(Array.from({ length: STREAM_OPEN_MAX }, lane))
}

async function hardKill(server: OwnServer, { sensor, lamp }: Cast): Promise<void> {
  title('5. The server is killed in the middle')
  const reader = await openDevice(server.mqttUrl, sensor, false)
  const light = await openDevice(server.mqttUrl, lamp, true)
  const texts = Array.from({ length: STREAM }, (_, i) => `through the kill ${i + 1}`)
  let killed: Promise<void> | undefined
  const strike = async (acked: number): Promise<void> => {
    const pid = server.pid()
    await server.kill()
    say(`  ${sensor.device} streams ${STREAM} messages to ${lamp.device}. After ${acked} PUBACKs: kill -9 ${pid}.`)
    const startS = await server.restart()
    say(`  Started again on the same folder, ready after ${startS.toFixed(2)} s. Both devices`)
    say('  reconnect by themselves and send again what had no answer.')
  }
  await stream(reader, `d-${lamp.device}`, texts, (acked) => {
    if (acked >= KILL_AFTER) killed ??= strike(acked)
  })
  await killed
  await light.until(() => new Set(light.arrivals.map(seqOf)).size >= STREAM, `${STREAM} messages`)
  const arrived = withoutRepeats(light.arrivals)
  assertArrived(arrived, texts, lamp.device)
  const repeats = light.arrivals.length - arrived.length
  say(`  ${lamp.device} got ${light.arrivals.length} packets: ${STREAM} messages and ${repeats} marked repeats.`)
  kept(`${STREAM} of ${STREAM}, each stored once, in order.`)
  await Promise.all([reader.end(), light.end()])
}

async function show(found: DemoServer | undefined): Promise<void> {
  let own: OwnServer | undefined = found === undefined ? await startOwnServer() : undefined
  const server = found ?? (own as OwnServer)
  say(`Heliograph shows its promises. The server is ${server.about}`)
  let cast = await provision(server)
  try {
    await bothWays(server, cast)
    await away(server, cast)
    await onceOnly(server, cast)
  } finally {
    // A server of somebody else is left without these devices.
    if (found !== undefined)
      for (const { device } of Object.values(cast) as MadeDevice[]) await found.admin.revoke(device)
  }
  if (own === undefined) {
    own = await startOwnServer()
    say(`\nWhat follows kills a server, so it has one of its own now, at ${own.mqttUrl}.`)
    const [sensor, lamp] = await own.admin.make({ kind: 'thing', prefix: 'demo', count: 2, numbered: true })
    cast = { ...cast, sensor: sensor as MadeDevice, lamp: lamp as MadeDevice }
  }
  await hardKill(own, cast)
  title('6. Two people talk')
  await letPeopleTalk(own, { say, kept })
  await own.stop()
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } })
  if (values.help) return say(HELP)
  const fromMs = performance.now()
  const late = setTimeout(() => fail(new BrokenPromise('It took too long.')), WHOLE_MS_MAX)
  await show(await findServer(process.env))
  clearTimeout(late)
  say(`\nEvery promise was kept. That took ${seconds(fromMs)}.`)
}

function fail(error: Error): never {
  const isParse = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true
  const what = error instanceof BrokenPromise ? `A promise was broken: ${error.message}` : error.message
  process.stderr.write(`${isParse ? `${error.message.split('. ')[0]}; --help says what there is.` : what}\n`)
  process.exit(isParse ? 2 : 1)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
main().catch(fail)
