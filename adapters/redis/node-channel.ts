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
  /** For the log: the connection was lost, and why. */
  warn(text: string): void
}

export interface NodeChannel {
  /** This process has published it: it must be heard. */
  published(watermark: number): void
  stop(): void
}

/** Messages that cannot be read: what they told is not known, as if they had not been heard. */
function createMisses(heard: Heard) {
  let timer: NodeJS.Timeout | undefined
  return {
    note(): void {
      heard.onLost()
      timer ??= setTimeout(() => {
        timer = undefined
        heard.onGap()
      }, UNREADABLE_MS)
    },
    /** The connection is gone: all is heard again from the next one on. */
    forget(): void {
      clearTimeout(timer)
      timer = undefined
    },
  }
}

/** Of a loss each reason is told once, however often the connection is tried. */
function createLosses({ warn }: Heard) {
  const said = new Set<string>()
  return {
    say(reason: string): void {
      if (said.has(reason)) return
      said.add(reason)
      warn(`the connection on which this node hears of rows is lost, and made again: ${reason}`)
    },
    isTold: () => said.size > 0,
    end: () => said.clear(),
  }
}

/** Hears until stopped. `listening` is a connection for this alone; it is subscribed when this resolves. */
export async function listenToNode(listening: Link, prefix: string, node: string, heard: Heard): Promise<NodeChannel> {
  const { redis } = listening
  const [lines, rows, watermarks] = [lineChannel(prefix, node), rowChannel(prefix, node), watermarkChannel(prefix)]
  let isStopped = false
  let highest = 0
  let timer: NodeJS.Timeout | undefined
  const misses = createMisses(heard)
  const losses = createLosses(heard)
  function reconnect(reason: string): void {
    losses.say(reason)
    listening.reconnect()
  }
  function hearWatermark(watermark: number): void {
    if (!Number.isSafeInteger(watermark)) return misses.note()
    highest = Math.max(highest, watermark)
    heard.onWatermark(highest)
  }

  redis.on('messageBuffer', (channel: Buffer, message: Buffer) => {
    if (isStopped) return
    const name = channel.toString()
    if (name === rows) {
      if (!heard.onRows(message)) misses.note()
    } else if (name === lines) heard.onLines(message.toString())
    else hearWatermark(Number(message.toString() || Number.NaN))
  })
  const subscribe = async (): Promise<void> => void (await redis.subscribe(lines, rows, watermarks))
  // The driver subscribes again by itself as well, before the check: what comes then comes before `onGap`.
  redis.on('close', () => {
    misses.forget()
    if (isStopped) return
    // Of one that was given up here the reason is told.
    if (!losses.isTold()) losses.say('it was closed')
    heard.onLost()
  })
  listening.onUsable(() => {
    subscribe().then(
      () => {
        losses.end()
        if (!isStopped) heard.onGap()
      },
      // Not subscribed is not heard: the connection is made again.
      (error: Error) => isStopped || reconnect(`SUBSCRIBE failed (${error.message})`),
    )
  })
  await subscribe()
  return {
    published(watermark) {
      if (watermark <= highest || timer !== undefined || isStopped) return
      timer = setTimeout(() => {
        timer = undefined
        if (watermark <= highest || isStopped) return
        reconnect(`a watermark was not heard within ${HEARD_WITHIN_MS / 1_000} s`)
      }, HEARD_WITHIN_MS)
      timer.unref()
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
      misses.forget()
    },
  }
}
