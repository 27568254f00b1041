/**
 * A random schedule from a seed: people talk while connections break, deliveries are lost, repeated, held and
 * reordered, clients die, prekeys run out and an old copy of a database is put back. Then everything is healed, and
 * every message has to be shown once at every device that should have it, in one order.
 */
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeDelivery, encodeDelivery } from '../../topics/codec.ts'
import { createRandom, type Random } from '../fuzz/random.ts'
import { call } from '../world/person.ts'
import type { Link, Published, Verdict } from './hostile.ts'
import type { Party, Scene } from './scene.ts'

const STEPS_MIN = 8
const STEPS_MORE = 24
const ROUNDS_MAX = 6
/** Longer than the longest wait before something is asked for again. */
const ROUND_MS = 5 * 3_600_000
/** Longer than a receipt lingers on the server. */
const IDLE_MS = 650

interface Sent {
  readonly text: string
  readonly from: Device
  readonly to: Account
  readonly step: number
}
interface Device {
  readonly party: Party
  readonly account: Account
  isConnected: boolean
  /** Kept for later, and the step it is of. */
  copy: { readonly folder: string; readonly step: number } | undefined
  /** Steps between which what this device knew is gone. */
  lost: { readonly from: number; readonly to: number } | undefined
}
interface Account {
  readonly user: string
  readonly devices: Device[]
}
type Mode = 'garble' | 'drop' | 'repeat' | 'hold' | 'swap'
interface Run {
  readonly scene: Scene
  readonly random: Random
  readonly seed: number
  readonly accounts: Account[]
  readonly devices: Device[]
  readonly sent: Sent[]
  readonly modes: Map<string, { mode: Mode; left: number }>
  readonly deaf: Set<string>
  readonly mute: Set<string>
  held: { readonly link: Link; readonly published: Published }[]
  lostAnswers: number
  step: number
}

/** What went wrong, with the log of the steps. */
export class Broken extends Error {}

async function addAccount(run: Run, hasSecond: boolean): Promise<void> {
  const { scene } = run
  const account: Account = { user: '', devices: [] }
  const add = (party: Party) => {
    const device: Device = { party, account, isConnected: true, copy: undefined, lost: undefined }
    account.devices.push(device)
    run.devices.push(device)
  }
  const first = await scene.person()
  Object.assign(account, { user: first.user })
  add(first)
  if (hasSecond) add(await scene.second(first))
  run.accounts.push(account)
}

/** A delivery whose ciphertext has a wrong byte in its end, where its authentication is; others as they are. */
function garbled(payload: Uint8Array): Uint8Array {
  const delivery = decodeDelivery(payload)
  const field =
    !delivery.fault && (delivery.kind === 'whisper' || delivery.kind === 'prekey') ? delivery.kind : undefined
  if (delivery.fault || field === undefined) return payload
  const wrong = Uint8Array.from(delivery[field] ?? [])
  wrong[wrong.length - 3] = (wrong.at(-3) ?? 0) ^ 1
  return encodeDelivery({ ...delivery, [field]: wrong })
}

/** What the man in the middle does to deliveries. */
function down(run: Run, published: Published, link: Link): Verdict {
  const manner = run.modes.get(link.device)
  if (manner === undefined) return undefined
  if (--manner.left <= 0) run.modes.delete(link.device)
  if (manner.mode === 'drop') return 'drop'
  if (manner.mode === 'garble') return [garbled(published.payload)]
  if (manner.mode === 'repeat') return [published.payload, published.payload]
  run.held.push({ link, published })
  // Swapped: let go in the next turn of the loop, behind what came with it.
  if (manner.mode === 'swap') setImmediate(() => letGo(run, 1))
  return 'drop'
}

/** Lets some of what is held go, in any order. */
function letGo(run: Run, count: number): void {
  for (let i = 0; i < count && run.held.length > 0; i++) {
    const [one] = run.held.splice(run.random.int(run.held.length), 1)
    one?.link.toClient(one.published.payload, one.published.messageId)
  }
}

function misbehave(run: Run): void {
  const { middle } = run.scene
  middle.down = (published, link) => down(run, published, link)
  middle.up = (_published, { device }) => (run.mute.has(device) ? 'drop' : undefined)
  middle.puback = ({ device }) => !run.deaf.has(device)
  middle.answer = () => {
    if (run.lostAnswers <= 0) return undefined
    run.lostAnswers--
    throw new Error('the answer is lost')
  }
}

async function say(run: Run, device: Device, count: number): Promise<void> {
  const to = run.random.pick(run.accounts.filter((account) => account !== device.account))
  for (let i = 0; i < count; i++) {
    const text = `${run.seed}.${run.sent.length}`
    run.sent.push({ text, from: device, to, step: run.step })
    await device.party.send(to.user, text)
  }
}

/** Its connection ends: from now on it is heard again. */
function cut(run: Run, { party }: Device): void {
  run.mute.delete(party.device)
  run.deaf.delete(party.device)
  run.scene.middle.linkOf(party.device)?.cut()
  party.client.retryNow()
}

function connect(device: Device): void {
  device.isConnected = true
  device.party.client.connect()
}

async function takeCopy(run: Run, device: Device): Promise<void> {
  if (device.copy !== undefined || device.lost !== undefined) return
  await device.party.client.close()
  const folder = device.party.copy()
  device.copy = { folder, step: run.step }
  device.party.restore(device.party.copy())
  connect(device)
}

async function putBack(run: Run, device: Device | undefined): Promise<void> {
  const copy = device?.copy
  if (device === undefined || copy === undefined) return
  await device.party.client.close()
  device.party.restore(copy.folder)
  device.copy = undefined
  device.lost = { from: copy.step, to: run.step }
  connect(device)
}

async function exhaust(run: Run, { party }: Device): Promise<void> {
  const { node, middle } = run.scene
  const token = middle.tokens.get(party.device) ?? ''
  const body = { oneTimePrekeys: [], oneTimeKemPrekeys: [] }
  const { status } = await call(node.url, 'PUT', '/v1/keys', { token, body })
  if (status !== 204) throw new Broken(`prekeys could not be removed: ${status}`)
}

const ACTIONS: Record<string, { readonly weight: number; run(run: Run, device: Device): Promise<void> | void }> = {
  say: { weight: 9, run: (run, device) => say(run, device, 1) },
  burst: { weight: 2, run: (run, device) => say(run, device, 2 + run.random.int(8)) },
  cut: { weight: 3, run: cut },
  drop: { weight: 2, run: (run, device) => mangle(run, device, 'drop') },
  repeat: { weight: 2, run: (run, device) => mangle(run, device, 'repeat') },
  garble: { weight: 2, run: (run, device) => mangle(run, device, 'garble') },
  hold: { weight: 2, run: (run, device) => mangle(run, device, 'hold') },
  swap: { weight: 2, run: (run, device) => mangle(run, device, 'swap') },
  letGo: { weight: 3, run: (run) => letGo(run, 1 + run.random.int(6)) },
  deaf: { weight: 1, run: (run, { party }) => void run.deaf.add(party.device) },
  mute: { weight: 1, run: (run, { party }) => void run.mute.add(party.device) },
  lostAnswer: { weight: 1, run: (run) => void run.lostAnswers++ },
  crash: {
    weight: 3,
    run(_run, device) {
      device.party.crash()
      connect(device)
    },
  },
  leave: {
    weight: 2,
    async run(_run, device) {
      await device.party.reopen()
      device.isConnected = false
    },
  },
  come: { weight: 3, run: (_run, device) => connect(device) },
  exhaust: { weight: 1, run: exhaust },
  copy: { weight: 2, run: takeCopy },
  putBack: {
    weight: 2,
    run: (run) => putBack(run, run.random.pick(run.devices.filter(({ copy }) => copy !== undefined))),
  },
  pass: { weight: 1, run: (run) => run.scene.pass(run.random.int(120_000)) },
  read: {
    weight: 1,
    run: (run, { party, account }) =>
      party.client.markRead(run.random.pick(run.accounts.filter((a) => a !== account)).user),
  },
}
const BAG = Object.entries(ACTIONS).flatMap(([name, { weight }]) => Array.from({ length: weight }, () => name))

function mangle(run: Run, { party }: Device, mode: Mode): void {
  run.modes.set(party.device, { mode, left: 1 + run.random.int(5) })
}

async function pause(random: Random): Promise<void> {
  const kind = random.int(4)
  if (kind === 0) return
  if (kind === 1) await new Promise((resolve) => setImmediate(resolve))
  else await sleep(random.int(kind === 2 ? 3 : 12))
}

/** Waits until something goes through the proxy. False: nothing does. */
async function isBusy({ middle }: Scene): Promise<boolean> {
  const before = middle.packets
  for (const untilMs = performance.now() + IDLE_MS; performance.now() < untilMs; await sleep(5)) {
    if (middle.packets !== before) return true
  }
  return false
}

/** Was it only in what this device has lost? */
const isIn = (lost: Device['lost'], step: number): boolean => lost !== undefined && step >= lost.from && step <= lost.to

function expectedAt(run: Run, device: Device, peer: Account): { text: string; isExcused: boolean }[] {
  return run.sent
    .filter(({ from, to }) => {
      if (from.account === device.account) return to === peer
      return from.account === peer && to === device.account
    })
    .map(({ text, from, step }) => ({ text, isExcused: isIn(from.lost, step) || (device.lost?.to ?? -1) >= step }))
}

/** What is missing, twice, or not numbered yet. */
function lacks(run: Run): string[] {
  const wrong: string[] = []
  for (const device of run.devices) {
    const at = `${run.accounts.indexOf(device.account)}.${device.account.devices.indexOf(device)}`
    if (device.party.client.waiting() > 0) wrong.push(`${at} has ${device.party.client.waiting()} requests waiting`)
    for (const peer of run.accounts) {
      if (peer === device.account) continue
      const shown = device.party.client.messages(peer.user, { limit: 1_000 })
      const expected = expectedAt(run, device, peer)
      for (const { text, isExcused } of expected) {
        const count = shown.filter((message) => message.text === text).length
        if (count > 1 || (count === 0 && !isExcused)) wrong.push(`${at} shows ${text} ${count} times`)
      }
      const known = new Set(expected.map(({ text }) => text))
      for (const { text, seq, failure } of shown) {
        if (!known.has(text)) wrong.push(`${at} shows ${text}, which nobody sent it`)
        if (failure !== '') wrong.push(`${at} failed to send ${text}: ${failure}`)
        else if (seq === 0) wrong.push(`${at} has no number for ${text}`)
      }
    }
  }
  return wrong
}

/** Where two devices disagree about the order of what both show. */
function disagreements(run: Run): string[] {
  const wrong: string[] = []
  const all = run.devices
  for (const one of all) {
    for (const other of all) {
      if (all.indexOf(one) >= all.indexOf(other)) continue
      for (const peer of run.accounts) {
        if (peer === one.account || (one.account !== other.account && peer !== other.account)) continue
        const theirs = one.account === other.account ? peer : one.account
        const ordered = (device: Device, { user }: Account) => device.party.texts(user)
        const [a, b] = [ordered(one, peer), ordered(other, theirs)]
        const [inA, inB] = [a.filter((text) => b.includes(text)), b.filter((text) => a.includes(text))]
        if (inA.join() !== inB.join()) wrong.push(`${inA.join()} is not ${inB.join()}`)
      }
    }
  }
  return wrong
}

async function heal(run: Run): Promise<void> {
  const { scene, devices } = run
  scene.middle.behave()
  run.held = []
  for (const device of devices) if (!device.isConnected) connect(device)
  let wrong: string[] = []
  for (let round = 0; round < ROUNDS_MAX; round++) {
    await Promise.all(devices.map(({ party }) => party.reconnect()))
    do wrong = lacks(run)
    while (wrong.length > 0 && (await isBusy(scene)))
    if (wrong.length === 0) return
    // So that what was asked for before, or held back, is asked for again.
    scene.pass(ROUND_MS)
  }
  throw new Broken(wrong.slice(0, 8).join('; '))
}

/** Faults that a schedule brings about; any other one is a mistake of the client. */
const EXPECTED_FAULTS = new Set(['restored', 'unreachable', 'undecryptable', 'rate_limited'])

function judge(run: Run): void {
  const wrong = [...lacks(run), ...disagreements(run)]
  for (const { party } of run.devices) {
    for (const { code, text } of party.told.fault) if (!EXPECTED_FAULTS.has(code)) wrong.push(`fault ${code}: ${text}`)
    if (party.told.identityChanged.length > 0) wrong.push('an identity changed')
    if (party.told.gap.length > 0) wrong.push('there is a gap')
  }
  if (wrong.length > 0) throw new Broken(wrong.slice(0, 8).join('; '))
}

/** Runs the schedule of this seed; gives the number of messages. Throws a Broken. */
export async function runSchedule(scene: Scene, seed: number): Promise<number> {
  const random = createRandom(seed)
  const run: Run = {
    scene,
    random,
    seed,
    accounts: [],
    devices: [],
    sent: [],
    modes: new Map(),
    deaf: new Set(),
    mute: new Set(),
    held: [],
    lostAnswers: 0,
    step: 0,
  }
  const log: string[] = []
  try {
    const people = random.once(4) ? 3 : 2
    for (let i = 0; i < people; i++) await addAccount(run, i === 0 && random.once(3))
    misbehave(run)
    const steps = STEPS_MIN + random.int(STEPS_MORE)
    for (; run.step < steps; run.step++) {
      const name = random.pick(BAG)
      const device = random.pick(run.devices)
      log.push(`${name} ${run.devices.indexOf(device)}`)
      await ACTIONS[name]?.run(run, device)
      await pause(random)
    }
    await heal(run)
    // What the last ones to come back have to say to their own devices is on its way.
    do await scene.quiet()
    while (lacks(run).length > 0 && (await isBusy(scene)))
    judge(run)
    return run.sent.length
  } catch (error) {
    throw new Broken(`seed ${seed}: ${(error as Error).message}\n  ${log.join(', ')}`, { cause: error })
  } finally {
    scene.middle.behave()
    for (const { copy } of run.devices) if (copy !== undefined) rmSync(copy.folder, { recursive: true, force: true })
    await scene.end(run.devices.map(({ party }) => party))
  }
}
