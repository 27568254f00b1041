/**
 * Accounts that were read, and tokens that were right. They are fresh for some seconds, and have to be read again then
 * (freshness.ts). They are kept all the same: while the server does not answer they are all that there is, until
 * `staleMs` after they were last known to be right. What is known to have changed is not kept.
 */
import type { Account, Device, Principal } from '../../core/ports.ts'
import { createFreshness, type Known } from './freshness.ts'
import type { Hears } from './hearing.ts'
import type { PostgresLimits } from './limits.ts'

/** Of an account: `u` and its key, `h` and its handle, `d` and the id of a device, `t` and the hash of a token. */
export type Name = `${'u' | 'h' | 'd' | 't'}${string}`

interface Login extends Known {
  readonly device: Device
  readonly token: Name
}
type NewLogin = { readonly device: Device; readonly token: Name }
interface Entry extends Known {
  readonly account: Account
  readonly names: Set<Name>
  /** By device id. */
  readonly logins: Map<string, Login>
}

export interface Memory extends Hears {
  /** Rises with everything that is forgotten. */
  version(): number
  /** Ask for it before a read, and give it to `keep`: what was forgotten meanwhile is not kept. */
  begin(): Reading
  account(name: Name, mustBeFresh: boolean): Account | undefined
  login(device: string | undefined, token: Name, mustBeFresh: boolean): Principal | undefined
  keep(reading: Reading, account: Account, login?: NewLogin): void
  /** A read that was begun is over. */
  end(reading: Reading): void
  forgetName(name: Name): void
  isHearing(): boolean
  size(): number
  close(): void
}
export interface Reading {
  readonly startedMs: number
  readonly version: number
}

const keyOf = (user: Uint8Array): string => Buffer.from(user).toString('latin1')

/** Entries by user and by all their names. Bounded: the one that was kept longest ago goes. */
interface Entries {
  of(name: Name): Entry | undefined
  byKey(key: string): Entry | undefined
  put(entry: Entry): void
  drop(key: string): void
  size(): number
  known(): Iterable<Known>
}

function createEntries(entriesMax: number): Entries {
  const entries = new Map<string, Entry>()
  const keys = new Map<Name, string>()
  function drop(key: string): void {
    const entry = entries.get(key)
    entries.delete(key)
    for (const name of entry?.names ?? []) if (keys.get(name) === key) keys.delete(name)
  }
  return {
    of(name) {
      const key = keys.get(name)
      return key === undefined ? undefined : entries.get(key)
    },
    byKey: (key) => entries.get(key),
    put(entry) {
      const { key } = entry.account
      drop(key)
      if (entries.size >= entriesMax) drop(entries.keys().next().value as string)
      entries.set(key, entry)
      for (const name of entry.names) keys.set(name, key)
    },
    drop,
    size: () => entries.size,
    known: () => [...entries.values()].flatMap((entry) => [entry, ...entry.logins.values()]),
  }
}

/** What a read makes of the entry before it: tokens that were right are kept, with the time of their own read. */
function entryFrom(account: Account, readMs: number, before: Entry | undefined, login: NewLogin | undefined): Entry {
  const { key, handle, devices } = account
  const logins = new Map(before?.logins)
  for (const id of logins.keys()) if (!devices.some((device) => device.id === id)) logins.delete(id)
  if (login !== undefined) logins.set(login.device.id, { ...login, readMs, rightMs: readMs })
  const names = new Set<Name>([`u${key}`, ...devices.map(({ id }): Name => `d${id}`)])
  if (handle !== undefined) names.add(`h${handle}`)
  for (const { token } of logins.values()) names.add(token)
  return { account, readMs, rightMs: readMs, names, logins }
}

/** `nowMs` is monotonic. */
export function createMemory(limits: PostgresLimits, nowMs: () => number = () => performance.now()): Memory {
  const entries = createEntries(limits.accountsCachedMax)
  const freshness = createFreshness(limits, nowMs)
  /** Users that were forgotten while reads were under way, with the version that made. */
  const lately = new Map<string, number>()
  const readings = new Set<Reading>()
  let version = 1
  let ticks: NodeJS.Timeout | undefined

  const isGood = (known: Known, mustBeFresh: boolean) =>
    mustBeFresh ? freshness.isFresh(known) : freshness.isServable(known)
  function forget(key: string): void {
    entries.drop(key)
    version++
    if (readings.size > 0) lately.set(key, version)
  }

  return {
    version: () => version,
    isHearing: freshness.isHearing,
    size: entries.size,
    begin() {
      const reading = { startedMs: nowMs(), version }
      readings.add(reading)
      return reading
    },
    end(reading) {
      readings.delete(reading)
      if (readings.size === 0) lately.clear()
    },
    account(name, mustBeFresh) {
      const entry = entries.of(name)
      return entry !== undefined && isGood(entry, mustBeFresh) ? entry.account : undefined
    },
    login(device, token, mustBeFresh) {
      const entry = entries.of(token)
      const login = entry && [...entry.logins.values()].find((each) => each.token === token)
      if (entry === undefined || login === undefined || !isGood(login, mustBeFresh)) return undefined
      if (device !== undefined && login.device.id !== device) return undefined
      return { account: entry.account, device: login.device }
    },
    keep(reading, account, login) {
      if ((lately.get(account.key) ?? 0) > reading.version) return
      const before = entries.byKey(account.key)
      if (before !== undefined && before.readMs > reading.startedMs) return
      entries.put(entryFrom(account, reading.startedMs, before, login))
    },
    forgetName(name) {
      const entry = entries.of(name)
      if (entry !== undefined) forget(entry.account.key)
    },
    onChange(changed) {
      for (const user of changed) forget(keyOf(user))
    },
    onHeard() {
      clearInterval(ticks)
      freshness.onHeard()
      version++
    },
    onBeat: freshness.onBeat,
    onLost() {
      freshness.onLost(entries.known())
      version++
      // Who resolved something at a version resolves it again: it may have changed unheard.
      ticks = setInterval(() => version++, limits.deafFreshMs)
      ticks.unref()
    },
    close: () => clearInterval(ticks),
  }
}
