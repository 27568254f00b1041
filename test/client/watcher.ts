/** What a transport tells, written down, with a way to wait for it. */
import type { Ack, End, TransportHandlers } from '../../client/transport/transport.ts'

export interface Delivered {
  readonly payload: Uint8Array
  readonly ack: Ack
  readonly isRepeat: boolean
}

export interface Watcher extends TransportHandlers {
  /** Every callback by name, in order. */
  readonly calls: string[]
  readonly delivered: Delivered[]
  /** Stamps, in the order of their PUBACKs. */
  readonly stored: number[]
  readonly ends: End[]
  readonly now: Uint8Array[]
  online: number
  /** Resolves when `test` is true, asked after every callback; rejects after some seconds. */
  until(test: () => boolean, what: string): Promise<void>
}

const TIMEOUT_MS = 8_000

/** `then` runs inside the callbacks, after they are written down. */
export function createWatcher(then: Partial<TransportHandlers> = {}): Watcher {
  const waiters = new Set<() => void>()
  const note = (call: string) => {
    watcher.calls.push(call)
    for (const check of [...waiters]) check()
  }
  const watcher: Watcher = {
    calls: [],
    delivered: [],
    stored: [],
    ends: [],
    now: [],
    online: 0,
    onOnline() {
      watcher.online++
      then.onOnline?.()
      note('online')
    },
    onOffline(end) {
      watcher.ends.push(end)
      then.onOffline?.(end)
      note('offline')
    },
    onDelivery(payload, ack, isRepeat) {
      watcher.delivered.push({ payload, ack, isRepeat })
      then.onDelivery?.(payload, ack, isRepeat)
      note('delivery')
    },
    onPuback(stamp) {
      watcher.stored.push(stamp)
      then.onPuback?.(stamp)
      note('puback')
    },
    onNow(payload) {
      watcher.now.push(payload)
      note('now')
    },
    until(test, what) {
      return new Promise((resolve, reject) => {
        const stop = () => {
          waiters.delete(check)
          clearTimeout(timer)
        }
        const check = () => {
          if (!test()) return
          stop()
          resolve()
        }
        const late = () => {
          stop()
          reject(new Error(`no ${what}; there was ${watcher.calls.slice(-20).join(' ')}`))
        }
        const timer = setTimeout(late, TIMEOUT_MS)
        waiters.add(check)
        check()
      })
    },
  }
  return watcher
}
