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

export const lineChannel = (prefix: string, node: string): string => `${prefix}node:${node}`
export const rowChannel = (prefix: string, node: string): string => `${prefix}node:${node}:rows`

export interface Heard {
  /** Lines for this node. */
  onLines(text: string): void
  /** Rows for devices of this node. */
  onRows(message: Buffer): void
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

/** Hears until stopped. `listening` is a connection for this alone; it is subscribed when this resolves. */
export async function listenToNode(listening: Link, prefix: string, node: string, heard: Heard): Promise<NodeChannel> {
  const { redis } = listening
  const [lines, rows, watermarks] = [lineChannel(prefix, node), rowChannel(prefix, node), watermarkChannel(prefix)]
  let isStopped = false
  let highest = 0
  let timer: NodeJS.Timeout | undefined
  /** Of this loss: each reason is told once, however often the connection is tried. */
  const said = new Set<string>()

  function say(reason: string): void {
    if (said.has(reason) || isStopped) return
    said.add(reason)
    heard.warn(`the connection on which this node hears of rows is lost, and made again: ${reason}`)
  }
  function reconnect(reason: string): void {
    say(reason)
    listening.reconnect()
  }

  redis.on('messageBuffer', (channel: Buffer, message: Buffer) => {
    if (isStopped) return
    const name = channel.toString()
    if (name === rows) heard.onRows(message)
    else if (name === lines) heard.onLines(message.toString())
    else {
      highest = Math.max(highest, Number(message.toString()))
      heard.onWatermark(highest)
    }
  })
  const subscribe = async (): Promise<void> => void (await redis.subscribe(lines, rows, watermarks))
  // The driver subscribes again by itself as well, before the check: what comes then comes before `onGap`.
  redis.on('close', () => {
    if (isStopped) return
    // Of one that was given up here the reason is told.
    if (said.size === 0) say('it was closed')
    heard.onLost()
  })
  listening.onUsable(() => {
    subscribe().then(
      () => {
        said.clear()
        if (!isStopped) heard.onGap()
      },
      // Not subscribed is not heard: the connection is made again.
      (error: Error) => reconnect(`SUBSCRIBE failed (${error.message})`),
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
    },
  }
}
