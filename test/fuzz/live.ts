/**
 * The whole server in this process, over in-memory streams: guard, plugins, aedes and a real store in a temporary
 * folder. Inputs are whole conversations, CONNECT included, cut at random places. What is checked is in `round`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import mqtt, { type Packet } from 'mqtt-packet'
import { type Server, startServer } from '../../broker/server.ts'
import { readConfig } from '../../core/config.ts'
import { OBSERVER_PASSWORD } from '../world/world.ts'
import { BOB, LANES, makeRecipients, makeSenders, renamed, sendersOf, VICTIM } from './devices.ts'
import type { Random } from './random.ts'
import { check, type LiveTarget } from './target.ts'

/** Devices are changed for fresh ones after so many rounds: a mutated stamp spends those of the old ones for ever. */
const ROUNDS_PER_GENERATION = 400
/** A disk that others use may take seconds for a commit. */
const SETTLE_MS = 10_000
/** Time goes on by this in a round, so that nobody connects too often. */
const STEP_MS = 5_000

export async function openLive(): Promise<LiveTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-fuzz-'))
  const clock = { ms: Date.now() }
  const config = readConfig({ DATA_DIR: folder, MQTT_PORT: '0', DISK_RESERVE_MIB: '1', OBSERVER_PASSWORD })
  let fatal: Error | undefined
  const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined }
  const onFatal = (error: Error) => {
    fatal = error
  }
  const overrides = { limits: { cacheBytesMax: 1 << 20 } }
  const server = await startServer(config, quiet, onFatal, () => clock.ms, overrides)
  await makeRecipients(server)
  let rounds = 0
  let generation = -1

  return {
    name: 'guard',
    inputsPerRound: LANES,
    async round(inputs, random) {
      if (rounds++ % ROUNDS_PER_GENERATION === 0) await makeSenders(server, ++generation)
      clock.ms += STEP_MS
      const before = evidenceOf(server)
      const talks = inputs.map((input, lane) => startTalk(server, renamed(input, generation, lane), lane))
      await Promise.all(talks.map((talk) => push(talk, random)))
      await settle(server)
      const conversations = await Promise.all(talks.map(endTalk))
      await checkSettled(server)
      await checkAnswers(server, before, conversations, generation)
      check(fatal === undefined, `the server would have ended: ${fatal?.message}`)
    },
    async stop() {
      await server.drain()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

// ---------------------------------------------------------------- one conversation

interface Conversation {
  /** PUBLISHes of QoS 1 as mqtt-packet reads the input, in order. */
  readonly sent: readonly { topic: string; payload: Buffer }[]
  readonly pubacks: number
}

const turn = () => new Promise<void>((resolve) => void setImmediate(resolve))

interface Talk {
  readonly input: Buffer
  readonly stream: Duplex
  readonly out: Buffer[]
  readonly closed: Promise<void>
}

function startTalk(server: Server, input: Buffer, lane: number): Talk {
  const out: Buffer[] = []
  const stream = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      out.push(Buffer.from(chunk))
      done()
    },
  })
  const closed = new Promise<void>((resolve) => void stream.once('close', resolve))
  server.door.take(stream, `10.0.0.${lane}`)
  return { input, stream, out, closed }
}

/** In pieces, with or without a turn of the event loop between them; then for as long as a login takes. */
async function push({ input, stream }: Talk, random: Random): Promise<void> {
  for (let at = 0; at < input.length; ) {
    const end = random.once(2) ? input.length : at + 1 + random.int(input.length - at)
    if (!stream.destroyed) stream.push(input.subarray(at, end))
    at = end
    if (random.once(2)) await turn()
  }
  for (let left = 12; left > 0 && !stream.destroyed; left--) await turn()
}

/** Everything is answered; a SUBSCRIBE and the slot of packet ids behind it take a commit each, then messages come. */
async function settle({ opened, plugins }: Server): Promise<void> {
  const until = performance.now() + SETTLE_MS
  while (plugins.ingress.senders.size > 0 && performance.now() < until) await turn()
  for (let left = 3; left > 0; left--) {
    // Commits are in order: those that were under way are done when this one is.
    await opened.ports.intake.append(0, [])
    for (let turns = 6; turns > 0; turns--) await turn()
  }
}

async function endTalk({ input, stream, out, closed }: Talk): Promise<Conversation> {
  stream.destroy()
  await closed
  return { sent: publishesIn(input), pubacks: countPubacks(Buffer.concat(out)) }
}

function publishesIn(input: Buffer): { topic: string; payload: Buffer }[] {
  const found: { topic: string; payload: Buffer }[] = []
  readPackets(input, (each) => {
    if (each.cmd === 'publish' && each.qos === 1) found.push({ topic: each.topic, payload: each.payload as Buffer })
  })
  return found
}

function countPubacks(output: Buffer): number {
  let count = 0
  readPackets(output, ({ cmd }) => {
    if (cmd === 'puback') count++
  })
  return count
}

function readPackets(bytes: Buffer, onPacket: (packet: Packet) => void): void {
  const parser = mqtt.parser()
  parser.on('packet', onPacket)
  parser.on('error', () => undefined)
  parser.parse(bytes)
}

// ---------------------------------------------------------------- what must hold afterwards

/** Nothing is open, nothing is held. */
async function checkSettled(server: Server): Promise<void> {
  const until = performance.now() + SETTLE_MS
  const { metrics, plugins } = server
  while ((metrics.heldBytes !== 0 || plugins.ingress.senders.size > 0) && performance.now() < until) await turn()
  check(metrics.heldBytes === 0, `${metrics.heldBytes} bytes are held`)
  check(plugins.ingress.senders.size === 0, `${plugins.ingress.senders.size} connections wait for an answer`)
  check(server.openSockets() === 0, `${server.openSockets()} sockets are open`)
  check(metrics.connections === 0, `${metrics.connections} connections are counted`)
}

/** Reasons for a PUBACK beside a stored message. */
function evidenceOf({ metrics }: Server): number {
  return metrics.repeated + Object.values(metrics.refused).reduce((sum, count) => sum + count, 0)
}

/**
 * There are no more PUBACKs than there are messages in the store, repeats and refusals; and what was sent to the victim
 * and acknowledged is in its inbox. Empties the inboxes.
 */
async function checkAnswers(
  server: Server,
  before: number,
  conversations: readonly Conversation[],
  generation: number,
): Promise<void> {
  const seqs = new Set<number>()
  const frames: Buffer[] = []
  for (const device of ['homesvc', VICTIM, BOB, ...sendersOf(generation)]) {
    for (const { seq, bytes } of await emptyInbox(server, device)) {
      seqs.add(seq)
      if (device === VICTIM) frames.push(bytes)
    }
  }
  const pubacks = conversations.reduce((sum, each) => sum + each.pubacks, 0)
  const reasons = evidenceOf(server) - before + seqs.size
  check(
    pubacks <= reasons,
    `${pubacks} PUBACKs for ${seqs.size} messages in the store and ${reasons - seqs.size} others`,
  )
  const due = conversations.flatMap(({ sent, pubacks: acked }) =>
    sent
      .slice(0, acked)
      .filter(({ topic, payload }) => /^d\/f...\/raw\/d-vict$/.test(topic) && payload.length <= 65_536),
  )
  const lost = firstMissing(
    due.map(({ payload }) => payload),
    frames,
  )
  check(lost < 0, `an acknowledged message to ${due[lost]?.topic} is not in the inbox`)
}

/**
 * Which payload is at the end of none of the frames, each frame holding one; -1 when there is none. The longest choose
 * first: an empty payload ends every frame, and would else take that of another.
 */
export function firstMissing(payloads: readonly Buffer[], frames: readonly Buffer[]): number {
  const left = [...frames]
  const longestFirst = payloads.map((_, i) => i).sort((a, b) => lengthOf(payloads, b) - lengthOf(payloads, a))
  for (const i of longestFirst) {
    const payload = payloads[i] as Buffer
    const at = left.findIndex((frame) => frame.subarray(frame.length - payload.length).equals(payload))
    if (at < 0) return i
    left.splice(at, 1)
  }
  return -1
}

const lengthOf = (payloads: readonly Buffer[], i: number): number => (payloads[i] as Buffer).length

async function emptyInbox({ opened }: Server, device: string): Promise<{ seq: number; bytes: Buffer }[]> {
  const { inbox } = opened.ports
  const found: { seq: number; bytes: Buffer }[] = []
  const { records } = await inbox.open(device)
  for (let seq = 0, sub = 0; ; ) {
    const rows = await inbox.page(device, seq, sub, 1_024)
    if (rows.length === 0) break
    for (const row of rows) {
      found.push({ seq: row.seq, bytes: Buffer.from((row.source as Uint8Array).subarray(row.start, row.end)) })
      seq = row.seq
      sub = row.sub
    }
    inbox.acknowledge(device, rows, [], [])
  }
  if (records.length > 0)
    inbox.acknowledge(
      device,
      [],
      records.map(({ stamp }) => stamp),
      [],
    )
  inbox.close(device, 0)
  return found
}
