/**
 * What a node does with what it hears (D3, B5). While it has heard everything, rows go to their connections without
 * being read: each device gets all of its rows, in the order of their positions, behind the watermark. After a gap that
 * is not so: a row that was told of then is below one that is heard now. So from the loss of the connection on rows
 * only wake, and inboxes are read, until all that was appended before this node heard again is readable and read.
 */
import type { HeldRows } from './held-rows.ts'
import type { InboxView } from './inbox-view.ts'
import type { LowWatermark } from './low-watermark.ts'
import type { Claims, Row } from './ports.ts'
import { unknownRow } from './row.ts'

const ASK_AGAIN_MS = 200

export interface Hearing {
  onRows(rows: readonly Row[]): void
  onWatermark(watermark: number): void
  /** The connection is gone. */
  onLost(): void
  /** Everything from now on is heard. */
  onGap(): void
  /** How often it was lost until now. */
  losses(): number
  stop(): void
}

export interface HearingParts {
  readonly held: HeldRows
  readonly watermark: LowWatermark
  readonly claims: Pick<Claims, 'wake'>
  readonly view: Pick<InboxView, 'sent' | 'isBehind'>
  /** The highest number that any shard has given. */
  appendedSeq(): Promise<number>
  /** All devices of this node read their inboxes. */
  wakeAll(): void
}

export function createHearing(parts: HearingParts): Hearing {
  const { held, watermark, claims, view } = parts
  /** Counts what ends the hearing: an answer that belongs to an earlier gap is no answer. */
  let gaps = 0
  let isWhole = true
  let isConnected = true
  let losses = 0
  let timer: NodeJS.Timeout | undefined
  let forget = (): void => undefined

  function begin(): number {
    isWhole = false
    held.clear()
    clearTimeout(timer)
    forget()
    return ++gaps
  }

  function catchUp(gap: number): void {
    const isOver = (): boolean => gap !== gaps
    parts.appendedSeq().then(
      (upTo) => {
        if (isOver()) return
        forget = watermark.onceReadable(upTo, () => {
          isWhole = true
          // They read before they are sent anything: this comes before the rows of the same watermark.
          parts.wakeAll()
        })
      },
      () => {
        if (!isOver()) timer = setTimeout(catchUp, ASK_AGAIN_MS, gap).unref()
      },
    )
  }

  function send(row: Row): void {
    const isNext = isWhole && !view.isBehind(row.device)
    if (claims.wake(row.device, isNext ? row : unknownRow(row.device)) === 'sent') view.sent(row)
  }

  return {
    onRows(rows) {
      for (const row of rows) held.hold(row)
    },
    onWatermark(upTo) {
      watermark.hear(upTo)
      for (const row of held.take(upTo)) send(row)
    },
    onLost() {
      // It is said again at each try to connect that fails.
      if (isConnected) losses++
      isConnected = false
      begin()
    },
    onGap() {
      isConnected = true
      const gap = begin()
      parts.wakeAll()
      catchUp(gap)
    },
    losses: () => losses,
    stop() {
      begin()
    },
  }
}
