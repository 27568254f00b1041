/**
 * Which devices a user has, as far as this client knows: (number, registration id). A hint that the server corrects
 * when something is sent (device-list rule); keys and signatures decide who can read it.
 */
import type { Store } from './open.ts'

export interface ListedDevice {
  readonly number: number
  readonly registrationId: number
}

type Pairs = [number: number, registrationId: number][]

/** Undefined: nobody has asked yet. In a turn. */
export function devicesOf(store: Store, user: string): readonly ListedDevice[] | undefined {
  return store.memory.recall(`devices ${user}`, () => readDevices(store, user))
}

function readDevices(store: Store, user: string): ListedDevice[] | undefined {
  const text = store.get('SELECT devices FROM peers WHERE user = ?', user)?.['devices'] as string | undefined
  if (text === undefined || text === '') return undefined
  return (JSON.parse(text) as Pairs).map(([number, registrationId]) => ({ number, registrationId }))
}

/** In a turn. */
export function setDevices(store: Store, user: string, devices: readonly ListedDevice[]): void {
  const pairs: Pairs = devices.map(({ number, registrationId }) => [number, registrationId])
  pairs.sort((a, b) => a[0] - b[0])
  store.run(
    `INSERT INTO peers (user, handle, devices) VALUES (?, NULL, ?)
      ON CONFLICT (user) DO UPDATE SET devices = excluded.devices`,
    user,
    JSON.stringify(pairs),
  )
  store.memory.forget(`devices ${user}`)
}

/** Nobody's devices are known any more. In a turn. */
export function forgetAllDevices(store: Store): void {
  store.run("UPDATE peers SET devices = ''")
  store.dropCaches()
}

/** In a turn. */
export function setHandle(store: Store, user: string, handle: string): void {
  store.run('UPDATE peers SET handle = NULL WHERE handle = ? AND user <> ?', handle, user)
  store.run(
    `INSERT INTO peers (user, handle, devices) VALUES (?, ?, '')
      ON CONFLICT (user) DO UPDATE SET handle = excluded.handle`,
    user,
    handle,
  )
}

/** Reads what is committed. */
export function userOfHandle(store: Store, handle: string): string | undefined {
  return store.peek('SELECT user FROM peers WHERE handle = ?', handle)[0]?.['user'] as string | undefined
}

/** '' when it is not known. Reads what is committed. */
export function handleOfUser(store: Store, user: string): string {
  return (store.peek('SELECT handle FROM peers WHERE user = ?', user)[0]?.['handle'] as string | null | undefined) ?? ''
}
