/**
 * A storm of reconnects: many devices on one of two nodes, each with some rows that it has not acknowledged; that node is
 * killed, and all of them come to the other one, after a random wait each, until each has its rows again.
 */
import { readFileSync } from 'node:fs'
import type { MadeDevice } from '../api/node.ts'
import { connectAgain, openDeployment } from '../cluster/nodes-scene.ts'
import type { MainProcess } from '../listeners/main-process.ts'
import { type StormDevice, stormDevice } from './device.ts'

export interface StormSettings {
  readonly devices: number
  /** Rows that wait for each device. */
  readonly rows: number
  /** Who is not back then is given up. */
  readonly secondsMax: number
  say(line: string): void
}

export interface StormResult {
  readonly devices: number
  readonly rows: number
  /** From the kill until the last device had all that waited for it. */
  readonly seconds: number
  readonly secondsP50: number
  readonly secondsP99: number
  /** Rows that did not come again to their device. */
  readonly lost: number
  /** Rows of another device. */
  readonly misdelivered: number
  /** Connections that were begun after the kill, and those of them that ended before everything was there. */
  readonly tries: number
  readonly refused: number
}

const PAGE = 1_000
const JOINING_MAX = 200
const SENT_AHEAD_MAX = 256
/** Services, files and the node that the generator talks to besides. */
const OTHER_FILES = 500

/** Throws when this process, and those that it starts, may not open as many sockets. */
export function assertFiles(devices: number): void {
  const line = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  const max = Number(line?.[1] ?? Number.POSITIVE_INFINITY)
  if (max >= devices + OTHER_FILES) return
  throw new RangeError(
    `${devices} devices need ${devices + OTHER_FILES} open files here and in the node, but ulimit -n is ${max}: ` +
      `raise it (ulimit -n ${devices + OTHER_FILES}), or take fewer with --devices.`,
  )
}

async function provision(node: MainProcess, count: number): Promise<MadeDevice[]> {
  const made: MadeDevice[] = []
  while (made.length < count) {
    made.push(...(await node.make({ kind: 'thing', prefix: 'st', count: Math.min(PAGE, count - made.length) })))
  }
  return made
}

/** `run` for all of them, so many at one time. */
async function each<T>(all: readonly T[], atOnce: number, run: (one: T) => Promise<unknown>): Promise<void> {
  const left = [...all]
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let one = left.pop(); one !== undefined; one = left.pop()) await run(one)
    }),
  )
}

/** Rows for all devices, over one connection of one sender. */
async function send(node: MainProcess, from: MadeDevice, devices: readonly StormDevice[], rows: number): Promise<void> {
  const sender = await connectAgain(from, node.mqttPort)
  let acked = 0
  sender.socket.on('data', () => undefined)
  const acks = (): number => {
    for (; sender.packets.length > 0; sender.packets.length--) {
      if (sender.packets.at(-1)?.cmd === 'puback') acked++
    }
    return acked
  }
  let sent = 0
  for (let row = 1; row <= rows; row++) {
    for (const { id } of devices) {
      sender.post(`d/${from.device}/raw/d-${id}`, `${id} ${row}`)
      sent++
      if (sent - acked < SENT_AHEAD_MAX) continue
      await sender.until(() => sent - acks() < SENT_AHEAD_MAX / 2, 'PUBACKs', 30_000)
    }
  }
  await sender.until(() => acks() >= sent, 'the last PUBACKs', 30_000)
  sender.destroy()
}

const at = (sorted: readonly number[], part: number): number =>
  Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0).toFixed(2))

/** Resolves with how long after `sinceMs` each was back; who is late is left out. */
async function allBack(
  devices: readonly StormDevice[],
  port: number,
  { rows, secondsMax, say }: StormSettings,
  kill: () => void,
): Promise<Map<StormDevice, number>> {
  const seconds = new Map<StormDevice, number>()
  const sinceMs = performance.now()
  const back = devices.map(async (device) => {
    await device.returnTo(port, rows)
    seconds.set(device, (performance.now() - sinceMs) / 1_000)
  })
  kill()
  const telling = setInterval(() => say(`${seconds.size} of ${devices.length} are back`), 2_000)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, secondsMax * 1_000)
  })
  await Promise.race([Promise.all(back), late])
  clearTimeout(timer)
  clearInterval(telling)
  return seconds
}

export async function runStorm(settings: StormSettings): Promise<StormResult> {
  const { devices: count, rows, say } = settings
  assertFiles(count)
  const deployment = await openDeployment({
    HANDSHAKES_PER_ADDRESS_MAX: String(2 * count),
    CONNECTIONS_PER_ADDRESS_MAX: String(2 * count),
  })
  let devices: StormDevice[] = []
  try {
    const [one, two] = [await deployment.start('one'), await deployment.start('two')]
    say(`two nodes run; making ${count} devices`)
    const made = await provision(two, count + 1)
    const from = made.pop() as MadeDevice
    devices = made.map(stormDevice)
    await each(devices, JOINING_MAX, (device) => device.join(one.mqttPort))
    say(`they are connected; sending ${rows} to each`)
    await send(two, from, devices, rows)
    await Promise.all(devices.map((device) => device.shownAll(rows)))
    say('each has been shown its rows, and acknowledged none; the node is killed')
    for (const { counts } of devices) counts.tries = 0
    const seconds = await allBack(devices, two.mqttPort, settings, () => one.signal('SIGKILL'))
    const sorted = [...seconds.values()].toSorted((a, b) => a - b)
    const sum = (of: (device: StormDevice) => number) => devices.reduce((all, device) => all + of(device), 0)
    return {
      devices: count,
      rows,
      seconds: seconds.size < count ? settings.secondsMax : at(sorted, 1),
      secondsP50: at(sorted, 0.5),
      secondsP99: at(sorted, 0.99),
      lost: sum((device) => (seconds.has(device) ? 0 : rows - device.shown.size)),
      misdelivered: sum(({ counts }) => counts.foreign),
      tries: sum(({ counts }) => counts.tries),
      refused: sum(({ counts }) => counts.refused),
    }
  } finally {
    for (const device of devices) device.end()
    await deployment.stop()
  }
}
