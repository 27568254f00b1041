/**
 * What a node is told by the others: channels of Redis, all heard on one connection. What is published while a node
 * hears arrives, in the order in which the server ran it: a watermark comes behind the wakes for all rows up to it. A
 * connection that was lost has missed something; one that hears no more, without being closed, shows by watermarks that
 * do not arrive, and is made anew.
 */
import type { Link } from './connection.ts'
import { watermarkChannel } from './keys.ts'

/** A watermark of this process that is not heard within this time: the listening connection is no good. */
const HEARD_WITHIN_MS = 2_000
/** From a message that cannot be read until all inboxes are read for it: others of its kind may follow. */
const UNREADABLE_MS = 200

export const lineChannel = (prefix: string, node: string): string => `${prefix}node:${node}`
export const rowChannel = (prefix: string, node: string): string => `${prefix}node:${node}:rows`

export interface Heard {
  /** Lines for this node. */
  onLines(text: string): void
  /** Rows for devices of this node; false when they cannot be read. */
  onRows(message: Buffer): boolean
  onWatermark(watermark: number): void
  /** From now on something may be missed, until `onGap`: the connection is gone. What is heard meanwhile is not all. */
  onLost(): void
  /** Something may have been missed, and everything from now on is heard. */
  onGap(): void
}

export interface NodeChannel {
  /** This process has published it: it must be heard. */
  published(watermark: number): void
  stop(): void
}

/** Hears until stopped. `listening` is a connection for this alone; it is subscribed when this resolves. */
export async function listenToNode(listening: Link, prefix: string, node: string, heard: Heard): Promise<NodeChannel> {
  const { redis } = listening
  const [lines, rows, watermarks] = [lineChannel(prefix, node), rowChannel(prefix, node), watermarkChannel(prefix)]
  let isStopped = false
  let highest = 0
  let timer: NodeJS.Timeout | undefined
  let missing: NodeJS.Timeout | undefined

  /** What it told is not known: as if it had not been heard. */
  function miss(): void {
    heard.onLost()
    missing ??= setTimeout(() => {
      missing = undefined
      heard.onGap()
    }, UNREADABLE_MS)
  }
  function hearWatermark(watermark: number): void {
    if (!Number.isSafeInteger(watermark)) return miss()
    highest = Math.max(highest, watermark)
    heard.onWatermark(highest)
  }
  function forget(): void {
    clearTimeout(missing)
    missing = undefined
  }

  redis.on('messageBuffer', (channel: Buffer, message: Buffer) => {
    if (isStopped) return
    const name = channel.toString()
    if (name === rows) {
      if (!heard.onRows(message)) miss()
    } else if (name === lines) heard.onLines(message.toString())
    else hearWatermark(Number(message.toString() || Number.NaN))
  })
  const subscribe = async (): Promise<void> => void (await redis.subscribe(lines, rows, watermarks))
  // The driver subscribes again by itself as well, before the check: what comes then comes before `onGap`.
  redis.on('close', () => {
    // It is heard again from the next connection on.
    forget()
    if (!isStopped) heard.onLost()
  })
  listening.onUsable(() => {
    subscribe().then(
      () => isStopped || heard.onGap(),
      // Not subscribed is not heard: the connection is made again.
      () => listening.reconnect(),
    )
  })
  await subscribe()
  return {
    published(watermark) {
      if (watermark <= highest || timer !== undefined || isStopped) return
      timer = setTimeout(() => {
        timer = undefined
        if (watermark > highest && !isStopped) listening.reconnect()
      }, HEARD_WITHIN_MS)
      timer.unref()
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
      forget()
    },
  }
}
