/**
 * The device-list rule: a send names the devices and registration ids that it was encrypted for (WIRE.md, DESIGN.md
 * 8). Pure.
 */
import type { Device } from './ports.ts'

export interface NamedDevice {
  readonly device: number
  readonly registrationId: number
}
export interface DeviceListFault {
  readonly missing: NamedDevice[]
  readonly extra: NamedDevice[]
  readonly stale: NamedDevice[]
}

/** The usual case: all of them, in the directory's order. */
function isSame(named: readonly NamedDevice[], actual: readonly Device[]): boolean {
  if (named.length !== actual.length) return false
  for (let i = 0; i < named.length; i++) {
    const one = named[i] as NamedDevice
    const other = actual[i] as Device
    if (one.device !== other.number || one.registrationId !== other.registrationId) return false
  }
  return true
}

/**
 * Compares what a send names with what is. `partial`: only the devices named have to be right (SCOPE_PARTIAL).
 * A device named twice counts as extra. Undefined when the list is right.
 */
export function checkDeviceList(
  named: readonly NamedDevice[],
  actual: readonly Device[],
  partial: boolean,
): DeviceListFault | undefined {
  if (isSame(named, actual)) return undefined
  const missing: NamedDevice[] = []
  const extra: NamedDevice[] = []
  const stale: NamedDevice[] = []
  const seen = new Set<number>()
  for (const { device, registrationId } of named) {
    const known = seen.has(device) ? undefined : actual.find((candidate) => candidate.number === device)
    seen.add(device)
    if (known === undefined) extra.push({ device, registrationId })
    else if (known.registrationId !== registrationId) stale.push({ device, registrationId: known.registrationId })
  }
  if (!partial) {
    for (const { number, registrationId } of actual) {
      if (!seen.has(number)) missing.push({ device: number, registrationId })
    }
  }
  return missing.length + extra.length + stale.length === 0 ? undefined : { missing, extra, stale }
}
