/**
 * A queued request becomes bytes under a stamp: its content is padded, encrypted for every device of the peer and for
 * one's own other ones, and written to the outbox in the same turn as the ratchets that moved. Resent as it stands.
 */

import { pad } from '../../topics/codec/padding.ts'
import { encodeSendRequest, type Fields, type PlainDeviceBody, SCOPE, URGENCY } from '../../topics/codec.ts'
import { limits } from '../../topics/limits.ts'
import { type Context, idBytes } from '../context.ts'
import { writeNumber } from '../crypto/account.ts'
import { devicesOf, type ListedDevice } from '../store/device-lists.ts'
import { marksOf } from '../store/message-rows.ts'
import { contentOfRequest, failRequest, type QueuedRow, SENT } from './outbox-rows.ts'

export interface Encrypted {
  readonly stamp: number
  readonly request: Uint8Array
}
type DeviceBody = Fields<PlainDeviceBody>

/** Above the last one, and the time as far as that allows (WIRE rule 1). */
function nextStamp({ account, now }: Context): number {
  account.lastStamp = Math.max(account.lastStamp + 1, Math.floor(now()))
  return account.lastStamp
}

/** Rows of the outbox are pruned, and queued again without a stamp. In the turn that gave stamps, once. */
export function keepLastStamp({ store, account }: Context): void {
  writeNumber(store, 'last_stamp', account.lastStamp)
}

interface Targets {
  readonly devices: readonly ListedDevice[]
  readonly own: readonly ListedDevice[]
}

function targetsOf(context: Context, { peer, onlyUser, onlyDevice }: QueuedRow): Targets {
  const { store, account } = context
  const others = (devicesOf(store, account.user) ?? []).filter(({ number }) => number !== account.number)
  if (onlyDevice === 0) return { devices: peer === account.user ? [] : (devicesOf(store, peer) ?? []), own: others }
  const list = onlyUser === account.user ? others : (devicesOf(store, onlyUser) ?? [])
  // Not listed: the server tells its registration id as `stale`.
  const only = [list.find(({ number }) => number === onlyDevice) ?? { number: onlyDevice, registrationId: 0 }]
  return onlyUser === account.user ? { devices: [], own: only } : { devices: only, own: [] }
}

const hasSessions = ({ cipher }: Context, user: string, devices: readonly ListedDevice[]): boolean =>
  devices.every(({ number }) => cipher.hasSession(user, number))

const isUnlisted = ({ registrationId }: ListedDevice): boolean => registrationId === 0

/** Was it asked for under another identity than today's? An approval is for what is said from then on. */
function isForIdentityBefore({ cipher, account }: Context, { onlyUser, madeMs }: QueuedRow): boolean {
  if (onlyUser === '' || onlyUser === account.user) return false
  const changedMs = cipher.identities.get(onlyUser)?.changedMs ?? 0
  return changedMs > 0 && changedMs >= madeMs
}

async function bodiesFor(
  context: Context,
  user: string,
  devices: readonly ListedDevice[],
  padded: Uint8Array | undefined,
  plaintext: Uint8Array | undefined,
): Promise<DeviceBody[]> {
  const bodies: DeviceBody[] = []
  for (const { number, registrationId } of devices) {
    if (plaintext !== undefined) bodies.push({ device: number, registrationId, plaintext })
    else if (padded !== undefined) {
      const { field, bytes } = await context.cipher.encrypt(user, number, padded)
      bodies.push({ device: number, registrationId, [field]: bytes })
    }
  }
  return bodies
}

/**
 * Encrypts one row and writes it down. Undefined: it cannot be sent now (a session is missing), or never (then it is
 * marked as failed). Throws an IdentityFault. A ratchet that moved for what is not sent then has skipped a key: the
 * other side bears that.
 */
export async function encryptRequest(context: Context, row: QueuedRow): Promise<Encrypted | undefined> {
  const { store, account } = context
  const content = row.plaintext === undefined ? contentOfRequest(store, row.row) : undefined
  if (row.plaintext === undefined && content === undefined) {
    failRequest(store, row.row, 'corrupt')
    return undefined
  }
  if (content !== undefined && isForIdentityBefore(context, row)) {
    failRequest(store, row.row, 'identity_changed')
    return undefined
  }
  if (content !== undefined && content.length > limits.contentBytesMax) {
    failRequest(store, row.row, 'too_large')
    return undefined
  }
  const padded = content && pad(content)
  const { devices, own } = targetsOf(context, row)
  const to = row.onlyUser || row.peer
  // Asked for all of them before any ratchet moves.
  if (padded !== undefined && !(hasSessions(context, to, devices) && hasSessions(context, account.user, own))) {
    // One device alone that is not listed: there is nobody to begin a session with.
    if (row.onlyDevice > 0 && [...devices, ...own].some(isUnlisted)) failRequest(store, row.row, 'unknown_peer')
    return undefined
  }
  const forPeer = await bodiesFor(context, to, devices, padded, row.plaintext)
  const forOwn = await bodiesFor(context, account.user, own, padded, row.plaintext)
  if (forPeer.length + forOwn.length === 0) {
    // A note to oneself with one device, or a peer without any.
    if (row.peer !== account.user) failRequest(store, row.row, 'unknown_peer')
    else store.run('UPDATE outbox SET state = 3 WHERE row = ?', row.row)
    return undefined
  }
  const stamp = nextStamp(context)
  const peer = idBytes(row.peer)
  const afterSeq = marksOf(store, row.peer).highest
  const request = encodeSendRequest({
    stamp,
    pair: { peer, devices: forPeer, own: forOwn, scope: row.scope },
    afterSeq,
    // What nobody is shown wakes nobody.
    ...(row.scope === SCOPE.message ? {} : { urgency: URGENCY.silent }),
  })
  if (request.length > limits.envelopeBytesMax) {
    failRequest(store, row.row, 'too_large')
    return undefined
  }
  const names = [
    ...devices.map(({ number }) => `${to}.${number}`),
    ...own.map(({ number }) => `${account.user}.${number}`),
  ]
  store.run(
    'UPDATE outbox SET state = ?, stamp = ?, request = ?, devices = ? WHERE row = ?',
    SENT,
    stamp,
    request,
    names.join(' '),
    row.row,
  )
  if (row.scope === SCOPE.message) store.run('UPDATE messages SET stamp = ? WHERE row = ? AND seq = 0', stamp, row.row)
  return { stamp, request }
}
