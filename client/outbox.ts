/**
 * The outbox: sends what is queued, in order, at most `clientPublishesMax` at a time without PUBACK. What was encrypted
 * is published again after every reconnect, the same bytes under the same stamp, until its PUBACK; never encrypted
 * again for the network's sake. Encrypting begins only when everything that waited was received: an answer then stands
 * above what it answers, and sessions are those of today.
 */

import { limits } from '../topics/limits.ts'
import type { ApiFault } from './api.ts'
import type { Core } from './core.ts'
import { IdentityFault } from './crypto/cipher.ts'
import { devicesOf } from './device-lists.ts'
import { type Encrypted, encryptRequest } from './encrypt-request.ts'
import { failRequest, markStored, type OutboxRow, outboxRow, QUEUED, SENT, STORED } from './outbox-rows.ts'
import { startSessions } from './start-sessions.ts'
import type { Transport } from './transport.ts'

export interface Outbox {
  /** Looks for work. Cheap, may be called at any time. */
  wake(): void
  onOnline(): void
  onOffline(): void
  onCaughtUp(): void
  /** An error for this stamp came: the PUBACK behind it says that it was answered, not that it is stored. */
  onRefusal(stamp: number): void
  onPuback(stamp: number): void
  /** Nothing is encrypted for this peer for so long; Infinity: until `release`. */
  hold(peer: string, ms: number): void
  release(peer: string): void
  /** No more work is begun; resolves when what runs has ended. */
  stop(): Promise<void>
}

const QUEUED_ROWS = `SELECT * FROM outbox WHERE state = ${QUEUED} AND due_ms <= ? ORDER BY row LIMIT ?`
/** Rows looked at, so that a peer who is held does not hide the others. */
const LOOK_ROWS_MAX = 1_000
const RETRY_MS = 5_000
const ROUNDS_MAX = 5

interface State {
  readonly core: Core
  readonly transport: () => Transport
  /** Published on this connection, without PUBACK. */
  readonly inFlight: Set<number>
  readonly held: Map<string, number>
  /** Refused on this connection, before their PUBACK. */
  readonly refused: Set<number>
  /** PUBACKs whose rows are not marked yet. */
  readonly acked: number[]
  isCaughtUp: boolean
  isStopped: boolean
  isAgain: boolean
  running: Promise<void> | undefined
  timer: NodeJS.Timeout | undefined
}

const isHeld = (state: State, peer: string): boolean => {
  const until = state.held.get(peer)
  if (until === undefined) return false
  if (until > state.core.now()) return true
  state.held.delete(peer)
  return false
}

const room = (state: State): number =>
  state.isCaughtUp && !state.isStopped && state.transport().isOnline()
    ? limits.clientPublishesMax - state.inFlight.size
    : 0

/** Looks again later, when something is only held for a while. */
function wakeLater(state: State, ms: number): void {
  if (state.timer !== undefined || state.isStopped || !Number.isFinite(ms)) return
  state.timer = setTimeout(() => {
    state.timer = undefined
    wake(state)
  }, ms)
  state.timer.unref()
}

function publish(state: State, { stamp, request }: Encrypted): void {
  if (!state.transport().isOnline() || state.inFlight.has(stamp)) return
  state.inFlight.add(stamp)
  state.transport().publish(request, stamp)
}

function nextRows(state: State, count: number): OutboxRow[] {
  const look = state.held.size === 0 ? count : LOOK_ROWS_MAX
  const rows = state.core.store.peek(QUEUED_ROWS, state.core.now(), look).map(outboxRow)
  return rows.filter(({ peer, onlyUser }) => !isHeld(state, onlyUser || peer)).slice(0, count)
}

function hold(state: State, peer: string, ms: number): void {
  state.held.set(peer, state.core.now() + ms)
  wakeLater(state, ms)
}

/** Of a server that gives false keys the user has to hear. */
function tellFalse(core: Core, { code, message }: ApiFault): void {
  if (code === 'bad_answer') core.emit('fault', { code, text: message })
}

/** Until the user approves the identity, told each time that something waits for it. */
function holdForIdentity(state: State, user: string): void {
  state.held.set(user, Number.POSITIVE_INFINITY)
  state.core.emit('identityChanged', { user })
}

/** What a refusal to hand out keys means: wait, or give the queued requests up. */
async function onFault(state: State, peer: string, fault: ApiFault): Promise<void> {
  const { core } = state
  if (fault.code !== 'unknown_recipient') {
    const waitMs = (fault.retryInS ?? 0) * 1_000
    tellFalse(core, fault)
    return hold(state, peer, Math.max(waitMs, RETRY_MS))
  }
  await core.store.turn(() => {
    for (const row of core.store.all('SELECT row FROM outbox WHERE state = 0 AND peer = ?', peer)) {
      failRequest(core.store, row['row'] as number, 'unknown_peer')
    }
  })
  core.emit('status', { peer })
}

/** Nothing is to be asked for: the devices are known, and each has a session. In a turn. */
function hasAll({ store, account, cipher }: Core, user: string): boolean {
  const devices = devicesOf(store, user)
  if (devices === undefined || (devices.length === 0 && user !== account.user)) return false
  return devices.every(({ number }) => cipher.hasSession(user, number))
}

/** The peers among `rows` that can be sent to. */
async function readyPeers(state: State, rows: readonly OutboxRow[]): Promise<Set<string>> {
  const { core } = state
  const users = new Set([core.account.user, ...rows.map(({ peer, onlyUser }) => onlyUser || peer)])
  // One turn for all of them: mostly there is nothing to do.
  const ready = await core.store.turn(() => new Set([...users].filter((user) => hasAll(core, user))))
  if (ready.size === users.size) return ready
  const own = ready.has(core.account.user) ? 'ready' : await startSessions(core, core.account.user)
  if (own !== 'ready') {
    if (own !== 'identity') tellFalse(core, own.fault)
    wakeLater(state, RETRY_MS)
    return new Set()
  }
  for (const peer of users) {
    if (ready.has(peer)) continue
    const readiness = peer === core.account.user ? 'ready' : await startSessions(core, peer)
    if (readiness === 'ready') ready.add(peer)
    else if (readiness === 'identity') holdForIdentity(state, peer)
    else await onFault(state, peer, readiness.fault)
  }
  return ready
}

/** Encrypts what can be, in one turn, and publishes it after the commit. */
async function sendSome(state: State, rows: readonly OutboxRow[]): Promise<number> {
  const { core } = state
  const ready = await readyPeers(state, rows)
  const mine = rows.filter(({ peer, onlyUser }) => ready.has(onlyUser || peer))
  if (mine.length === 0) return 0
  const failed = new Set<string>()
  const sent = await core.store.turn(async () => {
    const made: Encrypted[] = []
    for (const row of mine) {
      const to = row.onlyUser || row.peer
      // What is behind one that could not be sent waits, so that the order stays.
      if (failed.has(to)) continue
      const encrypted = await encryptPart(state, row)
      if (encrypted !== undefined) made.push(encrypted)
      else {
        failed.add(to)
        // It waits still: looking at it again at once would never end.
        if (isQueued(state, row)) hold(state, to, RETRY_MS)
      }
    }
    return made
  })
  for (const each of sent) publish(state, each)
  for (const peer of failed) core.emit('status', { peer })
  return sent.length + failed.size
}

function isQueued({ core, held }: State, { row, onlyUser, peer }: OutboxRow): boolean {
  const isNow = core.store.get('SELECT state FROM outbox WHERE row = ?', row)?.['state'] === QUEUED
  return isNow && !held.has(onlyUser || peer)
}

async function encryptPart(state: State, row: OutboxRow): Promise<Encrypted | undefined> {
  if (row.rounds > ROUNDS_MAX) {
    failRequest(state.core.store, row.row, 'refused')
    return undefined
  }
  try {
    return await encryptRequest(state.core, row)
  } catch (error) {
    if (!(error instanceof IdentityFault)) throw error
    holdForIdentity(state, error.user)
    return undefined
  }
}

async function noteStored(state: State): Promise<void> {
  const stamps = state.acked.splice(0)
  if (stamps.length === 0) return
  try {
    for (const peer of await markStored(state.core.store, stamps)) state.core.emit('status', { peer })
  } catch (error) {
    // A full disk: they are marked when there is room.
    state.acked.unshift(...stamps)
    throw error
  }
}

async function work(state: State): Promise<void> {
  do {
    state.isAgain = false
    await noteStored(state)
    const count = room(state)
    if (count <= 0) continue
    const rows = nextRows(state, count)
    if (rows.length > 0 && (await sendSome(state, rows)) > 0) state.isAgain = true
  } while (state.isAgain || (state.acked.length > 0 && !state.isStopped))
}

function wake(state: State): void {
  state.isAgain = true
  if (state.running !== undefined || state.isStopped) return
  // Not now: what comes in the same turn of the loop shares the commit.
  state.running = new Promise<void>((resolve) => setImmediate(resolve))
    .then(() => work(state))
    .catch((error: Error & { code?: string }) => {
      if (state.isStopped) return
      state.core.emit('fault', { code: error.code ?? 'refused', text: error.message })
      wakeLater(state, RETRY_MS)
    })
    .finally(() => {
      state.running = undefined
      if (state.isAgain && state.timer === undefined) wake(state)
    })
}

/**
 * What was sent before and has no number yet goes out again, in the order of its stamps: also with a PUBACK, since the
 * number may have been told to a copy of this database that is gone. Then the server says that the stamp is behind.
 */
function republish(state: State): void {
  const rows = state.core.store.peek(
    `SELECT stamp, request FROM outbox WHERE state IN (${SENT}, ${STORED}) AND stamp > 0 AND request IS NOT NULL
      ORDER BY stamp`,
  )
  for (const row of rows) {
    publish(state, { stamp: row['stamp'] as number, request: row['request'] as Uint8Array })
  }
}

export function createOutbox(core: Core, transport: () => Transport): Outbox {
  const state: State = {
    core,
    transport,
    inFlight: new Set(),
    held: new Map(),
    refused: new Set(),
    acked: [],
    isCaughtUp: false,
    isStopped: false,
    isAgain: false,
    running: undefined,
    timer: undefined,
  }
  return {
    wake: () => wake(state),
    onOnline: () => republish(state),
    onOffline() {
      state.inFlight.clear()
      state.refused.clear()
      state.isCaughtUp = false
    },
    onCaughtUp() {
      state.isCaughtUp = true
      wake(state)
    },
    onRefusal(stamp) {
      if (state.inFlight.has(stamp)) state.refused.add(stamp)
    },
    onPuback(stamp) {
      state.inFlight.delete(stamp)
      if (!state.refused.delete(stamp)) state.acked.push(stamp)
      wake(state)
    },
    hold: (peer, ms) => hold(state, peer, ms),
    release(peer) {
      state.held.delete(peer)
      wake(state)
    },
    async stop() {
      state.isStopped = true
      clearTimeout(state.timer)
      await state.running
    },
  }
}
