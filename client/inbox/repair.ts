/**
 * Refusals of the server, by what they ask for: repair the device list and encrypt again under a new stamp, send the
 * same later, or give up and say why. A request that was answered before is left alone. All of it in a turn.
 */
import type { WireError } from '../../topics/codec.ts'
import { errorCodeOf, RETRY_LATER, RETRY_REPAIR } from '../../topics/errors.ts'
import type { Context } from '../context.ts'
import { clientCodeOf } from '../faults.ts'
import { ACCEPTED, FAILED, failRequest, type OutboxRow, outboxRow, requeue, STORED } from '../outbox/outbox-rows.ts'
import { devicesOf, setDevices } from '../store/device-lists.ts'

/** What is to be done and said after the commit. */
export interface Repair {
  readonly peer: string
  /** Nothing for `user` for so long. */
  readonly holdMs: number
  readonly added: readonly number[]
  readonly removed: readonly number[]
  /** Whose list it was, or who it was for. */
  readonly user: string
}

const ROUNDS_MAX = 5
const DEVICES_MAX = 127

function rowOfStamp(context: Context, stamp: number): OutboxRow | undefined {
  const row = stamp > 0 ? context.store.get('SELECT * FROM outbox WHERE stamp = ? AND stamp > 0', stamp) : undefined
  return row && outboxRow(row)
}

/** The list as the server says; keys and signatures decide later whether that is true. */
function repairList(context: Context, user: string, error: WireError): Pick<Repair, 'added' | 'removed'> {
  const { store, cipher } = context
  const known = devicesOf(store, user)
  const listed = new Map((known ?? []).map((device) => [device.number, device]))
  const removed: number[] = []
  const added: number[] = []
  for (const { device } of error.extra) {
    if (listed.delete(device)) removed.push(device)
    cipher.sessions.set(user, device, null)
  }
  for (const { device, registrationId } of error.stale) {
    cipher.sessions.set(user, device, null)
    listed.set(device, { number: device, registrationId })
  }
  for (const { device, registrationId } of error.missing) {
    if (device < 1 || device > DEVICES_MAX) continue
    if (!listed.has(device)) added.push(device)
    listed.set(device, { number: device, registrationId })
  }
  setDevices(store, user, [...listed.values()])
  return { added, removed }
}

function onStale(context: Context, row: OutboxRow, error: WireError): Repair {
  const user = error.own ? context.account.user : row.onlyUser || row.peer
  const changes = repairList(context, user, error)
  // A request for one device that is gone has nobody to go to.
  const isGone = row.onlyDevice > 0 && error.extra.some(({ device }) => device === row.onlyDevice)
  if (isGone || row.rounds >= ROUNDS_MAX) failRequest(context.store, row.row, isGone ? 'unknown_peer' : 'refused')
  else requeue(context.store, row.row)
  return { peer: row.peer, user, holdMs: 0, ...changes }
}

function onBehind(context: Context, row: OutboxRow | undefined, error: WireError): void {
  context.account.lastStamp = Math.max(context.account.lastStamp, error.lastStamp)
  if (row !== undefined && row.state !== ACCEPTED) requeue(context.store, row.row)
}

/** Undefined: it answers nothing that is known here. */
export function repair(context: Context, error: WireError): Repair | undefined {
  const code = errorCodeOf(error.code)
  const row = rowOfStamp(context, error.stamp)
  if (code === 'stamp_behind') onBehind(context, row, error)
  if (row === undefined || row.state === FAILED) return undefined
  if (code === 'dead_letter') {
    // The one answer that takes back an acceptance.
    failRequest(context.store, row.row, clientCodeOf(code))
    return { peer: row.peer, user: row.peer, holdMs: 0, added: [], removed: [] }
  }
  if (row.state === ACCEPTED) return undefined
  // It is stored, and was only asked about again; what is refused now is no reason to send it twice.
  if (row.state === STORED && code !== 'stamp_behind') return undefined
  const done = { peer: row.peer, user: row.peer, holdMs: 0, added: [], removed: [] }
  if (code === 'stamp_behind') return done
  if (code === 'devices_stale') return onStale(context, row, error)
  if (error.retry === RETRY_LATER) {
    // Its peer waits, and not the row: after a restart those behind it would overtake it.
    requeue(context.store, row.row)
    // Waiting is no round of repairing.
    context.store.run('UPDATE outbox SET rounds = ? WHERE row = ?', row.rounds, row.row)
    return { ...done, user: row.onlyUser || row.peer, holdMs: Math.max(1, error.retryInS) * 1_000 }
  }
  if (error.retry === RETRY_REPAIR && row.rounds < ROUNDS_MAX) requeue(context.store, row.row)
  else failRequest(context.store, row.row, code === undefined ? 'refused' : clientCodeOf(code))
  return done
}
