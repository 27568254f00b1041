/**
 * The kill -9 lane: load on every path the server has, SIGKILL at a random instant, restart on the same data folder,
 * the same clients come back (clean=false) and send again what was not acknowledged, with the same stamp. Then every
 * acknowledged message must have arrived, in the order of its pair, and no (sender, stamp) may have two seqs.
 *
 * On each path some recipients are there and take part in a closed loop, and some are absent until the restart: what
 * was acknowledged for those is still waiting when the process dies.
 *
 * `node bench/kill.ts [--rounds 100] [--server heliograph|mosquitto|nats|...]` runs it alone.
 */
import { parseArgs } from 'node:util'
import { decodeDelivery } from '../topics/codec.ts'
import type { Path } from './generator/fleet.ts'
import {
  closeLoad,
  closeRecipients,
  createLoad,
  type Load,
  openRecipients,
  openSenders,
  wantEach,
  wantNothing,
} from './generator/load.ts'
import { findVarint, found } from './generator/message.ts'
import { abandon, outcome, unackedSlots } from './generator/outcome.ts'
import { type Watch, waitFor } from './generator/traffic.ts'
import { type Connection, resend } from './generator/turn.ts'
import { type RunningServer, removeFolder, type ServerKind, temporaryFolder } from './servers/server.ts'
import { heliograph, peers } from './servers/table.ts'

const WINDOW = 10
/** Messages that one sender leaves for an absent recipient before each kill, at most. */
const WAITING_EACH = 500

export type KillOptions = {
  rounds: number
  /** Pairs on each path whose recipient is there during the load, and pairs whose recipient is absent. */
  pairs: number
  absentPairs: number
  /** The kill comes at a random instant of this span after the load began. */
  loadMsMin: number
  loadMsMax: number
  /** After so long without any PUBACK or arrival, what is missing after a restart counts as lost. */
  quietMs: number
  note(line: string): void
}

export type KillReport = {
  rounds: number
  acked: number
  /** Acknowledged, and not arrived after restart, reconnect and drain. */
  lost: number
  /** Sent again after the restart and still not acknowledged. */
  unacked: number
  misordered: number
  /** Copies beyond the first: what was in flight in either direction at the kill. */
  duplicated: number
  /** (sender, stamp) seen under two seqs, in deliveries and accepted marks together. */
  seqTwice: number
  /** Messages of a pair whose seq does not rise with their stamp. */
  seqBackwards: number
  restartSMax: number
}

export const killDefaults = {
  rounds: 100,
  pairs: 100,
  absentPairs: 20,
  loadMsMin: 200,
  loadMsMax: 1200,
  quietMs: 10_000,
}

type Lane = {
  load: Load
  absent: boolean
  seqs: Seqs
  /** Given up so far: acknowledged and gone, never acknowledged, never arrived. */
  lost: number
  unacked: number
  missing: number
}

type Seqs = { watch: Watch; twice: number; backwards: number; stampBase: Float64Array }

/** Runs the lane on its own data folder and server. Rejects only when the server does not come back. */
export async function killLane(kind: ServerKind, options: KillOptions): Promise<KillReport> {
  const dataDir = temporaryFolder(`${kind.name}-kill`)
  let server = await kind.start({ dataDir })
  try {
    const lanes: Lane[] = []
    for (const path of kind.paths) {
      for (const absent of [false, true]) lanes.push(await createLane(server, path, absent, options))
    }
    let report = total(lanes, 0, server.startS)
    await connectAll(lanes, server.mqttPort)
    while (report.rounds < options.rounds) {
      const loadMs = options.loadMsMin + Math.random() * (options.loadMsMax - options.loadMsMin)
      for (const { load, absent } of lanes) {
        if (absent) await closeRecipients(load)
        wantEach(load, 0xffffffff)
      }
      await new Promise((resolve) => setTimeout(resolve, loadMs))
      await server.kill()
      await forgetConnections(lanes)
      server = await kind.start({ dataDir })
      await connectAll(lanes, server.mqttPort)
      await Promise.all(lanes.map((lane) => drain(lane, options.quietMs)))
      const before = report.acked
      report = total(lanes, report.rounds + 1, Math.max(report.restartSMax, server.startS))
      options.note(roundLine(report, options.rounds, loadMs, report.acked - before, server.startS))
    }
    await Promise.all(lanes.map(({ load }) => closeLoad(load)))
    return report
  } finally {
    await server.kill()
    removeFolder(dataDir)
  }
}

async function createLane(server: RunningServer, path: Path, absent: boolean, options: KillOptions): Promise<Lane> {
  const pairs = absent ? options.absentPairs : options.pairs
  const seqs = watchSeqs(pairs)
  const fleet = await server.fleet(path, { pairs, recipients: pairs })
  const load = createLoad(fleet, {
    slots: absent ? WAITING_EACH : WINDOW,
    unackedMax: WINDOW,
    stampBase: seqs.stampBase,
    ...(path === 'send-request' ? { watch: seqs.watch } : {}),
  })
  return { load, absent, seqs, lost: 0, unacked: 0, missing: 0 }
}

function total(lanes: readonly Lane[], rounds: number, restartSMax: number): KillReport {
  const sum = (count: (lane: Lane) => number): number => lanes.reduce((all, lane) => all + count(lane), 0)
  return {
    rounds,
    acked: sum(({ load }) => load.traffic.acked),
    lost: sum(({ lost }) => lost),
    unacked: sum(({ unacked }) => unacked),
    misordered: sum(({ load }) => load.traffic.misordered),
    duplicated: sum(({ load }) => load.traffic.duplicated),
    seqTwice: sum(({ seqs }) => seqs.twice),
    seqBackwards: sum(({ seqs }) => seqs.backwards),
    restartSMax,
  }
}

/** Recipients first, then senders; each sender first sends again what it has no PUBACK for, oldest first. */
async function connectAll(lanes: readonly Lane[], port: number): Promise<void> {
  for (const { load } of lanes) {
    await openRecipients(load, port)
    await openSenders(load, port)
    load.senders.forEach((sender, pair) => {
      const slots = unackedSlots(load.traffic, pair)
      if (sender !== undefined && slots.length > 0) resend(sender, load.traffic, slots)
    })
  }
}

/** After the kill: nothing new is sent, and what the kernel still holds for us (PUBACKs, messages) is read first. */
async function forgetConnections(lanes: readonly Lane[]): Promise<void> {
  for (const { load } of lanes) {
    wantNothing(load)
    for (const list of [load.senders, load.recipients]) {
      await Promise.all(list.map(ended))
      list.length = 0
    }
    load.broken.length = 0
  }
}

async function ended(connection: Connection | undefined): Promise<void> {
  if (connection === undefined || connection.socket.closed) return
  await new Promise((resolve) => connection.socket.once('close', resolve))
}

/** Waits until everything that was sent is acknowledged and there; counts what stays out, and gives it up. */
async function drain(lane: Lane, quietMs: number): Promise<void> {
  const { traffic } = lane.load
  if (await waitFor(traffic, traffic.sent - lane.unacked, traffic.sent - lane.missing, quietMs)) return
  lane.lost += outcome(traffic).lost
  lane.unacked = traffic.sent - traffic.acked
  lane.missing = traffic.sent - traffic.arrived
  abandon(traffic)
}

/** Remembers the seq of every stamp, from deliveries and from accepted marks, and compares. */
function watchSeqs(pairs: number): Seqs {
  const known: number[][] = Array.from({ length: pairs }, () => [])
  const stampBase = new Float64Array(pairs).fill(Date.now())
  const note = (pair: number, counter: number, seq: number): void => {
    const list = known[pair] as number[]
    const before = list[counter]
    if (before === undefined) {
      list[counter] = seq
      if (seq <= (list[counter - 1] ?? 0)) seqs.backwards++
    } else if (before !== seq) {
      seqs.twice++
    }
  }
  const watch: Watch = {
    arrival(pair, counter, payload, from, to) {
      note(pair, counter, findVarint(payload, from, to, 10) ? found.value : 0)
    },
    receipts(pair, payload, from, to) {
      const delivery = decodeDelivery(payload.subarray(from, to))
      const items = delivery.fault ? [] : (delivery.receipts?.items ?? [])
      for (const { accepted } of items) {
        for (let i = 0; i + 1 < accepted.length; i += 2) {
          note(pair, (accepted[i] as number) - (stampBase[pair] as number), accepted[i + 1] as number)
        }
      }
    },
  }
  const seqs: Seqs = { watch, stampBase, twice: 0, backwards: 0 }
  return seqs
}

function roundLine(report: KillReport, rounds: number, loadMs: number, acked: number, startS: number): string {
  const totals = `${report.acked} acknowledged in all, ${report.lost} lost, ${report.misordered} misordered`
  const seqs = `${report.seqTwice} stamps under two seqs`
  return (
    `kill -9 round ${report.rounds}/${rounds}: after ${loadMs.toFixed(0)} ms and ${acked} PUBACKs, ` +
    `ready again in ${startS.toFixed(2)} s; ${totals}, ${seqs}`
  )
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '100' }, server: { type: 'string', default: 'heliograph' } },
  })
  const kind = [heliograph, ...Object.values(peers).flat()].find(({ name }) => name === values.server)
  if (kind === undefined) throw new Error(`--server ${values.server}: no such server; see bench/servers/table.ts`)
  const missing = kind.missing()
  if (missing !== undefined) throw new Error(missing)
  const note = (line: string): void => console.log(line)
  const report = await killLane(kind, { ...killDefaults, rounds: Number(values.rounds), note })
  console.log(JSON.stringify(report, undefined, 2))
  const { lost, unacked, misordered, seqTwice, seqBackwards } = report
  process.exitCode = lost + unacked + misordered + seqTwice + seqBackwards === 0 ? 0 : 1
}

if (import.meta.main) await main()
