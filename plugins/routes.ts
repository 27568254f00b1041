/**
 * From a name to devices: what a sender's message to one recipient becomes. Resolved once for each (connection,
 * recipient) and again when the directory has changed; the hot path only looks it up.
 */

import { judgeRaw } from '../core/address.ts'
import { BODY_DELIVERY, BODY_FRAME, type Target } from '../core/envelope.ts'
import type { Account, Device, Directory, Principal } from '../core/ports.ts'
import type { ErrorCode } from '../topics/errors.ts'
import { base32 } from '../topics/ids.ts'
import { fromTopic, inboxTopicOf, type RawTo } from '../topics/topic.ts'

export interface Route {
  /** Directory version that it was resolved at. */
  readonly version: number
  readonly error: ErrorCode | undefined
  /** The other user of the conversation. */
  readonly account: Account | undefined
  /** In the order of `account.devices`. */
  readonly targets: readonly Target[]
  /** The same, making no receipts. */
  readonly quiet: readonly Target[]
  /** The sender's other devices. */
  readonly own: readonly Target[]
  readonly ownDevices: readonly Device[]
}

export function refusedRoute(version: number, error: ErrorCode): Route {
  return { version, error, account: undefined, targets: [], quiet: [], own: [], ownDevices: [] }
}

/** `<sender>` of `from/<sender>/…`: a valid `<to>` for the answer. */
function senderName(sender: Principal): string {
  const { account, device } = sender
  if (account.kind === 'person')
    return account.handle === undefined ? `u-${base32(account.user)}` : `@${account.handle}`
  return account.kind === 'service' && account.handle !== undefined ? `@${account.handle}` : `d-${device.id}`
}

function rawTarget(sender: Principal, recipient: Account, device: Device): Target {
  const isPerson = recipient.kind === 'person'
  const topic = isPerson ? inboxTopicOf(device.id) : fromTopic(device.id, senderName(sender), 'direct')
  return {
    device: device.id,
    body: isPerson ? BODY_DELIVERY : BODY_FRAME,
    topic: Buffer.from(topic),
    numbered: device.numbered && !isPerson,
    own: false,
    peer: sender.account.user,
    receiptTo: '',
  }
}

async function accountOf(directory: Directory, sender: Principal, to: RawTo): Promise<Account | undefined> {
  if (to.kind === 'handle') return directory.accountByHandle(to.handle)
  if (to.kind === 'device') return directory.accountOfDevice(to.device)
  if (to.kind === 'user') return directory.account(to.user)
  if (to.kind === 'group') return undefined
  const { owner } = sender.account
  return owner === undefined ? undefined : directory.account(Buffer.from(owner, 'latin1'))
}

/** Resolves `<to>` of a raw topic, or the peer of a RawMessage. */
export async function resolveRaw(directory: Directory, sender: Principal, to: RawTo): Promise<Route> {
  const version = directory.version()
  if (to.kind === 'group') return refusedRoute(version, 'unsupported')
  const account = await accountOf(directory, sender, to)
  if (account === undefined) return refusedRoute(version, 'unknown_recipient')
  const lists = new Map<string, ReadonlySet<string>>()
  for (const owner of [sender.account.owner ?? sender.account.key, account.owner ?? account.key]) {
    lists.set(owner, (await directory.account(Buffer.from(owner, 'latin1')))?.allowed ?? new Set())
  }
  const error = judgeRaw(sender.account, account, (owner) => lists.get(owner) ?? new Set())
  if (error !== undefined) return refusedRoute(version, error)
  const devices = account.devices.filter(
    (device) => device.id !== sender.device.id && (to.kind !== 'device' || device.id === to.device),
  )
  if (devices.length === 0) return refusedRoute(version, 'unknown_recipient')
  const targets = devices.map((device) => rawTarget(sender, account, device))
  return { version, error: undefined, account, targets, quiet: targets, own: [], ownDevices: [] }
}

function pairTarget(device: Device, peer: Uint8Array, own: boolean, receiptTo: string): Target {
  const topic = Buffer.from(inboxTopicOf(device.id))
  return { device: device.id, body: BODY_DELIVERY, topic, numbered: false, own, peer, receiptTo }
}

/** Resolves the peer of a PairMessage: all devices of the peer and the sender's other ones. */
export async function resolvePair(directory: Directory, sender: Principal, peer: Uint8Array): Promise<Route> {
  const version = directory.version()
  const account = await directory.account(peer)
  if (account === undefined) return refusedRoute(version, 'unknown_recipient')
  if (account.kind !== 'person') return refusedRoute(version, 'peer_not_a_person')
  const self = (await directory.account(sender.account.user)) ?? sender.account
  const me = self.user
  const others = self.devices.filter((device) => device.id !== sender.device.id)
  const isSelf = account.key === self.key
  // Its owner is gone: nobody would ever read it.
  if (!isSelf && account.devices.length === 0) return refusedRoute(version, 'unknown_recipient')
  return {
    version,
    error: undefined,
    account: isSelf ? { ...account, devices: [] } : account,
    targets: isSelf ? [] : account.devices.map((device) => pairTarget(device, me, false, self.key)),
    quiet: isSelf ? [] : account.devices.map((device) => pairTarget(device, me, false, '')),
    own: others.map((device) => pairTarget(device, account.user, true, '')),
    ownDevices: others,
  }
}
