/** A client of the SDK in a folder of its own: it can die, be opened again and be put back from a copy. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, type ClientSettings, type Events, openClient } from '../../client/index.ts'

export const EVENTS: readonly (keyof Events)[] = [
  'message',
  'status',
  'online',
  'offline',
  'caughtUp',
  'identityChanged',
  'devicesChanged',
  'unreadable',
  'gap',
  'revoked',
  'keysWithheld',
  'fault',
]
const TIMEOUT_MS = 10_000
const LOOK_EVERY_MS = 10

export interface SdkClient {
  client: Client
  readonly folder: string
  /** Resolves when `test` holds, asked at every event; rejects after `timeoutMs` with what there is. */
  until(test: () => boolean, what: string, timeoutMs?: number): Promise<void>
  /** Dies without a word, and is opened again, not connected. */
  crash(): void
  /** Closed in order, and opened again, not connected. */
  reopen(): Promise<void>
  /** A copy of the folder as it is. */
  copy(): string
  /** Puts a copy back in place of the folder. Closed before, not connected afterwards. */
  restore(copy: string): void
}

/** `settings` are asked at every opening; `onEvent` is told what the living client tells; `tell` says what there is. */
export function openSdkClient(
  settings: () => Partial<ClientSettings> & Pick<ClientSettings, 'url'>,
  onEvent: <K extends keyof Events>(event: K, value: Events[K], client: Client) => void,
  tell: () => string,
): SdkClient {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-client-'))
  const waiters = new Set<() => void>()
  const open = (): Client => {
    const client = openClient({ folder, unlock: { keyFile: join(folder, 'key') }, ...settings() })
    for (const event of EVENTS) {
      client.on(event, (value) => {
        // Of one that has died nobody hears; while it is being opened it is not there yet.
        if (held.client !== undefined && held.client !== client) return
        onEvent(event, value, client)
        for (const check of [...waiters]) check()
      })
    }
    return client
  }
  const held: SdkClient = {
    client: undefined as unknown as Client,
    folder,
    until(test, what, timeoutMs = TIMEOUT_MS) {
      return new Promise((resolve, reject) => {
        const done = (error?: Error) => {
          clearTimeout(timer)
          clearInterval(look)
          waiters.delete(check)
          if (error === undefined) resolve()
          else reject(error)
        }
        const check = () => {
          if (test()) done()
        }
        const timer = setTimeout(() => done(new Error(`no ${what}; ${tell()}`)), timeoutMs)
        // What changes without an event, such as an empty outbox.
        const look = setInterval(check, LOOK_EVERY_MS)
        waiters.add(check)
        check()
      })
    },
    crash() {
      held.client.abandon()
      held.client = open()
    },
    async reopen() {
      await held.client.close()
      held.client = open()
    },
    copy() {
      const copy = mkdtempSync(join(tmpdir(), 'heliograph-copy-'))
      cpSync(folder, copy, { recursive: true })
      return copy
    },
    restore(copy) {
      rmSync(folder, { recursive: true, force: true })
      cpSync(copy, folder, { recursive: true })
      rmSync(copy, { recursive: true, force: true })
      held.client = open()
    },
  }
  held.client = open()
  return held
}
