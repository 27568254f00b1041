/**
 * The outbox: sends what is queued, in order, at most `clientPublishesMax` at a time without PUBACK. What was encrypted
 * is published again after every reconnect, the same bytes under the same stamp, until its PUBACK; never encrypted
 * again for the network's sake. Encrypting begins only when everything that waited was received: an answer then stands
 * above what it answers, and sessions are those of today.
 */

import { limits } from '../../topics/limits.ts'
import type { Context } from '../context.ts'
import { IdentityFault } from '../crypto/cipher.ts'
import type { ApiFault } from '../http/api.ts'
import type { Turn } from '../store/open.ts'
import type { Transport } from '../transport/transport.ts'
import { type Encrypted, encryptRequest, keepLastStamp } from './encrypt-request.ts'
import { createHolds, type Holds } from './holds.ts'
import { failRequest, markStored, QUEUED, type QueuedRow, queuedRows, SENT, STORED } from './outbox-rows.ts'
import { hasSessions, startSessions } from './start-sessions.ts'

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

const RETRY_MS = 5_000
const ROUNDS_MAX = 5

interface State {
  readonly context: Context
  readonly transport: () => Transport
  /** Published on this connection, without PUBACK. */
  readonly inFlight: Set<number>
  readonly holds: Holds
  /** Refused on this connection, before their PUBACK. */
  readonly refused: Set<number>
  /** PUBACKs whose rows are not marked yet. */
  readonly acked: number[]
  isCaughtUp: boolean
  isStopped: boolean
  isAgain: boolean
  running: Promise<void> | undefined
}

const room = (state: State): number =>
  state.isCaughtUp && !state.isStopped && state.transport().isOnline()
    ? limits.clientPublishesMax - state.inFlight.size
    : 0

function publish(state: State, { stamp, request }: Encrypted): void {
  if (!state.transport().isOnline() || state.inFlight.has(stamp)) return
  state.inFlight.add(stamp)
  state.transport().publish(request, stamp)
}

/** Rows of a peer who is held, however many they are, do not hide those of others. */
const nextRows = ({ context, holds }: State, count: number): QueuedRow[] => queuedRows(context, count, holds.peers())

/** Of a server that gives false keys the user has to hear. */
function tellFalse(context: Context, { code, message }: ApiFault): void {
  if (code === 'bad_answer') context.emit('fault', { code, text: message })
}

/** Until the user approves the identity, told each time that something waits for it. */
function holdForIdentity(state: State, user: string): void {
  state.holds.put(user, Number.POSITIVE_INFINITY)
  state.context.emit('identityChanged', { user })
}

/** What a refusal to hand out keys means: wait, or give the queued requests up. */
async function onFault(state: State, peer: string, fault: ApiFault): Promise<void> {
  const { context } = state
  if (fault.code !== 'unknown_recipient') {
    const waitMs = (fault.retryInS ?? 0) * 1_000
    tellFalse(context, fault)
    return state.holds.put(peer, Math.max(waitMs, RETRY_MS))
  }
  await context.store.turn(() => {
    for (const row of context.store.all('SELECT row FROM outbox WHERE state = 0 AND peer = ?', peer)) {
      failRequest(context.store, row['row'] as number, 'unknown_peer')
    }
  })
  context.emit('status', { peer })
}

/** The peers among `rows` that can be sent to. */
async function readyPeers(state: State, rows: readonly QueuedRow[]): Promise<Set<string>> {
  const { context } = state
  const users = new Set([context.account.user, ...rows.map(({ peer, onlyUser }) => onlyUser || peer)])
  // One turn for all of them: mostly there is nothing to do.
  const ready = await context.store.turn(() => new Set([...users].filter((user) => hasSessions(context, user))))
  if (ready.size === users.size) return ready
  const own = ready.has(context.account.user) ? 'ready' : await startSessions(context, context.account.user)
  if (own !== 'ready') {
    if (own !== 'identity') tellFalse(context, own.fault)
    state.holds.wakeIn(RETRY_MS)
    return new Set()
  }
  for (const peer of users) {
    if (ready.has(peer)) continue
    const readiness = peer === context.account.user ? 'ready' : await startSessions(context, peer)
    if (readiness === 'ready') ready.add(peer)
    else if (readiness === 'identity') holdForIdentity(state, peer)
    else await onFault(state, peer, readiness.fault)
  }
  return ready
}

/** Encrypts what can be, in one turn, and publishes it after the commit. */
async function sendSome(state: State, rows: readonly QueuedRow[]): Promise<number> {
  const { context } = state
  const ready = await readyPeers(state, rows)
  const mine = rows.filter(({ peer, onlyUser }) => ready.has(onlyUser || peer))
  if (mine.length === 0) return 0
  const failed = new Set<string>()
  const sent = await turnWithPubacks(state, async (turn) => {
    const made: Encrypted[] = []
    for (const row of mine) {
      const to = row.onlyUser || row.peer
      // What is behind one that could not be sent waits, so that the order stays.
      if (failed.has(to)) continue
      const encrypted = await encryptPart(state, turn, row)
      if (encrypted !== undefined) made.push(encrypted)
      else {
        failed.add(to)
        // It waits still: looking at it again at once would never end.
        if (isQueued(state, row)) state.holds.put(to, RETRY_MS)
      }
    }
    if (made.length > 0) keepLastStamp(context)
    return made
  })
  for (const each of sent) publish(state, each)
  for (const peer of failed) context.emit('status', { peer })
  return sent.length + failed.size
}

function isQueued({ context, holds }: State, { row, onlyUser, peer }: QueuedRow): boolean {
  const isNow = context.store.get('SELECT state FROM outbox WHERE row = ?', row)?.['state'] === QUEUED
  return isNow && !holds.has(onlyUser || peer)
}

async function encryptPart(state: State, turn: Turn, row: QueuedRow): Promise<Encrypted | undefined> {
  const { store, emit } = state.context
  if (row.rounds > ROUNDS_MAX) {
    failRequest(store, row.row, 'refused')
    return undefined
  }
  try {
    return await encryptRequest(state.context, row)
  } catch (error) {
    const { code, errcode, message } = error as Error & { code?: string; errcode?: number }
    if (error instanceof IdentityFault) holdForIdentity(state, error.user)
    // SQLite's own errors are those of the disk: the turn is undone, and tried again.
    else if (errcode !== undefined) throw error
    else {
      // One that can never be encrypted must not hold up those behind it.
      failRequest(store, row.row, code === 'corrupt' ? 'corrupt' : 'refused')
      turn.after(() => emit('fault', { code: code ?? 'refused', text: `A message cannot be sent: ${message}` }))
    }
    return undefined
  }
}

/** A turn that also marks those whose PUBACK came: their commit is shared with that of the next requests. */
async function turnWithPubacks<T>(state: State, work: (turn: Turn) => Promise<T>): Promise<T> {
  const { store, emit } = state.context
  const stamps = state.acked.splice(0)
  try {
    return await store.turn(async (turn) => {
      const peers = markStored(store, stamps)
      turn.after(() => peers.forEach((peer) => void emit('status', { peer })))
      return work(turn)
    })
  } catch (error) {
    // A full disk: they are marked when there is room.
    state.acked.unshift(...stamps)
    throw error
  }
}

async function work(state: State): Promise<void> {
  do {
    state.isAgain = false
    const count = room(state)
    const rows = count > 0 ? nextRows(state, count) : []
    if (rows.length > 0 && (await sendSome(state, rows)) > 0) state.isAgain = true
    else if (state.acked.length > 0) await turnWithPubacks(state, async () => undefined)
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
      state.context.emit('fault', { code: error.code ?? 'refused', text: error.message })
      state.holds.wakeIn(RETRY_MS)
    })
    .finally(() => {
      state.running = undefined
      if (state.isAgain && !state.holds.isWaking()) wake(state)
    })
}

/**
 * What was sent before and has no number yet goes out again, in the order of its stamps: also with a PUBACK, since the
 * number may have been told to a copy of this database that is gone. Then the server says that the stamp is behind.
 */
function republish(state: State): void {
  const rows = state.context.store.peek(
    `SELECT stamp, request FROM outbox WHERE state IN (${SENT}, ${STORED}) AND stamp > 0 AND request IS NOT NULL
      ORDER BY stamp`,
  )
  for (const row of rows) {
    publish(state, { stamp: row['stamp'] as number, request: row['request'] as Uint8Array })
  }
}

export function createOutbox(context: Context, transport: () => Transport): Outbox {
  const state: State = {
    context,
    transport,
    inFlight: new Set(),
    holds: createHolds(context.now, () => wake(state)),
    refused: new Set(),
    acked: [],
    isCaughtUp: false,
    isStopped: false,
    isAgain: false,
    running: undefined,
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
    hold: state.holds.put,
    release(peer) {
      state.holds.release(peer)
      wake(state)
    },
    async stop() {
      state.isStopped = true
      state.holds.stop()
      await state.running
    },
  }
}
