/**
 * A queued request becomes bytes under a stamp: its content is padded, encrypted for every device of the peer and for
 * one's own other ones, and written to the outbox in the same turn as the ratchets that moved. Resent as it stands.
 */

import { pad } from '../topics/codec/padding.ts'
import { encodeSendRequest, type Fields, type PlainDeviceBody, SCOPE } from '../topics/codec.ts'
import { limits } from '../topics/limits.ts'
import { writeNumber } from './account.ts'
import { type Core, idBytes } from './core.ts'
import { devicesOf, type ListedDevice } from './device-lists.ts'
import { marksOf } from './message-rows.ts'
import { contentOfRequest, failRequest, type OutboxRow, SENT } from './outbox-rows.ts'

export interface Encrypted {
  readonly stamp: number
  readonly request: Uint8Array
}
type DeviceBody = Fields<PlainDeviceBody>

/** Above the last one, and the time as far as that allows (WIRE rule 1). In a turn. */
function nextStamp(core: Core): number {
  const { account, store } = core
  account.lastStamp = Math.max(account.lastStamp + 1, Math.floor(core.now()))
  writeNumber(store, 'last_stamp', account.lastStamp)
  return account.lastStamp
}

interface Targets {
  readonly devices: readonly ListedDevice[]
  readonly own: readonly ListedDevice[]
}

function targetsOf(core: Core, { peer, onlyUser, onlyDevice }: OutboxRow): Targets {
  const { store, account } = core
  const others = (devicesOf(store, account.user) ?? []).filter(({ number }) => number !== account.number)
  if (onlyDevice === 0) return { devices: peer === account.user ? [] : (devicesOf(store, peer) ?? []), own: others }
  const list = onlyUser === account.user ? others : (devicesOf(store, onlyUser) ?? [])
  // Not listed: the server tells its registration id as `stale`.
  const only = [list.find(({ number }) => number === onlyDevice) ?? { number: onlyDevice, registrationId: 0 }]
  return onlyUser === account.user ? { devices: [], own: only } : { devices: only, own: [] }
}

const isUnlisted = ({ registrationId }: ListedDevice): boolean => registrationId === 0

/** Was it asked for under another identity than today's? An approval is for what is said from then on. */
function isForIdentityBefore({ cipher, account }: Core, { onlyUser, madeMs }: OutboxRow): boolean {
  if (onlyUser === '' || onlyUser === account.user) return false
  const changedMs = cipher.identities.get(onlyUser)?.changedMs ?? 0
  return changedMs > 0 && changedMs >= madeMs
}

/** Undefined: a device has no session. */
async function bodiesFor(
  core: Core,
  user: string,
  devices: readonly ListedDevice[],
  padded: Uint8Array | undefined,
  plaintext: Uint8Array | undefined,
): Promise<DeviceBody[] | undefined> {
  const bodies: DeviceBody[] = []
  for (const { number, registrationId } of devices) {
    if (plaintext !== undefined) bodies.push({ device: number, registrationId, plaintext })
    else if (padded === undefined || !core.cipher.hasSession(user, number)) return undefined
    else {
      const { field, bytes } = await core.cipher.encrypt(user, number, padded)
      bodies.push({ device: number, registrationId, [field]: bytes })
    }
  }
  return bodies
}

/**
 * Encrypts one row and writes it down. Undefined: it cannot be sent now (a session is missing), or never (then it is
 * marked as failed). Throws an IdentityFault, and the part is undone.
 */
export async function encryptRequest(core: Core, row: OutboxRow): Promise<Encrypted | undefined> {
  const { store, account } = core
  const content = row.plaintext === undefined ? contentOfRequest(store, row.row) : undefined
  if (row.plaintext === undefined && content === undefined) {
    failRequest(store, row.row, 'corrupt')
    return undefined
  }
  if (content !== undefined && isForIdentityBefore(core, row)) {
    failRequest(store, row.row, 'identity_changed')
    return undefined
  }
  const padded = content && pad(content)
  const { devices, own } = targetsOf(core, row)
  const forPeer = await bodiesFor(core, row.onlyUser || row.peer, devices, padded, row.plaintext)
  const forOwn = await bodiesFor(core, account.user, own, padded, row.plaintext)
  if (forPeer === undefined || forOwn === undefined) {
    // One device alone that is not listed: there is nobody to begin a session with.
    if (row.onlyDevice > 0 && [...devices, ...own].some(isUnlisted)) failRequest(store, row.row, 'unknown_peer')
    return undefined
  }
  if (forPeer.length + forOwn.length === 0) {
    // A note to oneself with one device, or a peer without any.
    if (row.peer !== account.user) failRequest(store, row.row, 'unknown_peer')
    else store.run('UPDATE outbox SET state = 3 WHERE row = ?', row.row)
    return undefined
  }
  const stamp = nextStamp(core)
  const peer = idBytes(row.peer)
  const afterSeq = marksOf(store, row.peer).highest
  const request = encodeSendRequest({
    stamp,
    pair: { peer, devices: forPeer, own: forOwn, scope: row.scope },
    afterSeq,
  })
  if (request.length > limits.envelopeBytesMax) {
    failRequest(store, row.row, 'too_large')
    return undefined
  }
  const names = [
    ...devices.map(({ number }) => `${row.onlyUser || row.peer}.${number}`),
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
