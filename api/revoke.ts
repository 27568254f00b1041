/** Ending a device, whoever asks for it, and telling the devices that stay. */

import { appendOwn, noticeEnvelope } from '../core/own-envelopes.ts'
import type { Ports } from '../core/ports.ts'

/**
 * Ends what is left of devices whose tokens are refused already: the connections, then the inboxes, to which nobody
 * adds any more. Idempotent.
 */
export async function endDevices({ claims, inbox, log }: Ports, devices: readonly string[]): Promise<void> {
  for (const device of devices) claims.evict(device, 'revoked')
  for (const device of devices) {
    await inbox.drop(device)
    log.info({ device }, 'device revoked')
  }
}

/** In this order: no new connection gets in, then the rest ends. False when nobody is called that. */
export async function revokeDevice(ports: Ports, device: string): Promise<boolean> {
  if (!(await ports.directory.revoke(device))) return false
  await endDevices(ports, [device])
  return true
}

/**
 * Tells the devices of a user, but `except`, that its list has changed. A hint: what cannot be stored is not sent, and
 * the change stays.
 */
export async function tellDevices(ports: Ports, user: Uint8Array, except: string): Promise<void> {
  const account = await ports.directory.account(user)
  const devices = (account?.devices ?? []).map(({ id }) => id).filter((id) => id !== except)
  if (devices.length === 0) return
  try {
    await appendOwn(ports, [noticeEnvelope(ports.intake.shards, devices, { devicesChanged: user })])
  } catch (error) {
    ports.log.warn({ devices, error: (error as Error).message }, 'devices were not told of a changed list')
  }
}
