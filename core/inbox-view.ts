/**
 * The Inbox port over two stores: rows that are immutable and a cursor (InboxRows), and what is quick and exact of a
 * device (DeviceStates). Acknowledged rows leave by the cursor, which is saved after their marks were appended (B3):
 * each second, after some acknowledgements, and at close; after a kill what was acknowledged since is sent again.
 * Bounded: a window of rows for each device that is connected here.
 */
import { newTrack, noteAcknowledged, noteRead, positionKey, type Track, takeCursor } from './cursor.ts'
import type { LowWatermark } from './low-watermark.ts'
import type { DeviceStates, Inbox, InboxRows, Log, Mark, Row } from './ports.ts'

const SAVE_EVERY_MS = 1_000
const SAVE_AFTER_ROWS = 100
const READABLE_WITHIN_MS = 2_000
/** Longer than a walk takes from reading rows to ending them. */
const WALKED_KEPT_MS = 10_000

/** Acknowledged rows whose marks may not be appended yet. */
interface Acknowledged {
  readonly rows: readonly Row[]
  readonly marks: readonly Mark[]
}

/** What this process knows of a device's inbox. */
interface View {
  /** Undefined until the first page. */
  track: Track | undefined
  acknowledged: Acknowledged[]
  /** Positions in `acknowledged`: they are not given again. */
  readonly hidden: Set<string>
  slot: number
  /** Connections here: at a takeover the new one opens before the old one has closed. */
  open: number
  saving: Promise<void> | undefined
}

interface Parts {
  readonly rows: InboxRows
  readonly states: DeviceStates
  readonly watermark: LowWatermark
  readonly log: Log
  /** A device has something to read. */
  readonly wake: (device: string) => void
  readonly views: Map<string, View>
  /** Devices that may not have read all that was appended before they connected, with how to stop waiting for it. */
  readonly behind: Map<string, { readonly seq: number; forget(): void }>
  /** Devices with something to save. */
  readonly dirty: Set<string>
  /** Read here without being connected here, and when that was last. */
  readonly walked: Map<string, number>
  /** Stamps whose records could not be ended yet, by device: at most those that may wait for it. */
  readonly unsettled: Map<string, readonly number[]>
}

export interface InboxView {
  readonly inbox: Inbox
  /**
   * What was written before its connection may have found nobody, and was not read yet: a row of it may not be sent
   * without reading what is below.
   */
  isBehind(device: string): boolean
  /** How many devices are. */
  devicesBehind(): number
  /** A row was sent to its device without being read here. */
  sent(row: Row): void
  /** Saves what was acknowledged until now, as far as the stores answer and marks are appended. */
  save(): Promise<void>
  /** Saves what is left to save. */
  stop(): Promise<void>
}

function viewOf({ views }: Parts, device: string): View {
  let view = views.get(device)
  if (view === undefined) {
    view = { track: undefined, acknowledged: [], hidden: new Set(), slot: -1, open: 0, saving: undefined }
    views.set(device, view)
  }
  return view
}

/** What is being saved may have to be saved again. */
function forgetIdle({ views }: Parts, device: string, { open, acknowledged, saving }: View): void {
  if (open === 0 && acknowledged.length === 0 && saving === undefined) views.delete(device)
}

// ---------------------------------------------------------------- saving

/** Where the cursor stands; two who ask for it at once share one. */
async function trackOf({ rows }: Parts, device: string, view: View): Promise<Track> {
  if (view.track !== undefined) return view.track
  const cursor = await rows.cursor(device)
  view.track ??= newTrack(cursor)
  return view.track
}

async function isSaid({ states }: Parts, { by, peer, upTo }: Mark): Promise<boolean> {
  return (await states.markOf(by, peer)) >= upTo
}

/** Rows whose marks are appended go below or above the cursor; the others wait. */
async function saveNow(parts: Parts, device: string, view: View): Promise<void> {
  const track = await trackOf(parts, device, view)
  const taken = view.acknowledged.splice(0)
  const waiting = new Set<Acknowledged>()
  try {
    for (const each of taken) {
      const said = await Promise.all(each.marks.map((mark) => isSaid(parts, mark)))
      if (said.includes(false)) waiting.add(each)
      else noteAcknowledged(track, each.rows)
    }
    if (waiting.size < taken.length) await parts.rows.saveCursor(device, takeCursor(track))
  } catch (error) {
    // Noting them twice does nothing.
    view.acknowledged.unshift(...taken)
    throw error
  }
  view.acknowledged.unshift(...waiting)
  for (const each of taken) {
    if (!waiting.has(each)) for (const row of each.rows) view.hidden.delete(positionKey(row))
  }
  if (view.acknowledged.length > 0) return
  parts.dirty.delete(device)
  if (view.open === 0) parts.views.delete(device)
}

function save(parts: Parts, device: string): Promise<void> {
  const view = viewOf(parts, device)
  view.saving ??= saveNow(parts, device, view)
    .catch((error: Error) => {
      parts.log.warn({ device, error: error.message }, 'a cursor could not be saved; it is tried again')
    })
    .finally(() => {
      view.saving = undefined
    })
  return view.saving
}

/** What was acknowledged while an earlier saving was under way is not in it. */
async function saveAll(parts: Parts): Promise<void> {
  const under = [...parts.dirty].filter((device) => parts.views.get(device)?.saving !== undefined)
  await Promise.all([...parts.dirty].map((device) => save(parts, device)))
  await Promise.all(under.filter((device) => parts.dirty.has(device)).map((device) => save(parts, device)))
}

function acknowledge(parts: Parts, device: string, rows: readonly Row[], marks: readonly Mark[]): void {
  const view = viewOf(parts, device)
  view.acknowledged.push({ rows, marks })
  for (const row of rows) view.hidden.add(positionKey(row))
  parts.dirty.add(device)
  if (view.hidden.size >= SAVE_AFTER_ROWS && marks.length === 0) void save(parts, device)
}

/** Records that stay would fill up, and refuse their device: what the store does not take now it takes later. */
function settle(parts: Parts, device: string, stamps: readonly number[]): void {
  const all = [...(parts.unsettled.get(device) ?? []), ...stamps]
  parts.unsettled.delete(device)
  parts.states.settle(device, all).catch(() => {
    parts.unsettled.set(device, [...(parts.unsettled.get(device) ?? []), ...all])
  })
}

// ---------------------------------------------------------------- reading

/** One for each device, whose connections may come and go meanwhile: for the one that wants most. */
function waitOn({ watermark, wake, behind }: Parts, device: string, seq: number): void {
  const earlier = behind.get(device)
  if (earlier !== undefined && earlier.seq >= seq) return
  earlier?.forget()
  const forget = watermark.onceReadable(seq, () => {
    behind.delete(device)
    wake(device)
  })
  if (seq > watermark.value()) behind.set(device, { seq, forget })
  else behind.delete(device)
}

/**
 * What was accepted before a device connects is there when its backlog is read, and caught-up says the truth. While no
 * worker writes rows, what is there is delivered, and the rest follows: who wrote it may have found nobody connected.
 */
function readable(parts: Parts, device: string, seq: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      forget()
      waitOn(parts, device, seq)
      resolve()
    }, READABLE_WITHIN_MS)
    const forget = parts.watermark.onceReadable(seq, () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** Rows that are neither below the cursor nor acknowledged here. Empty only when there are none. */
async function page(parts: Parts, device: string, seq: number, sub: number, limit: number): Promise<Row[]> {
  const { rows, watermark } = parts
  const view = viewOf(parts, device)
  if (view.open === 0) parts.walked.set(device, performance.now())
  const track = await trackOf(parts, device, view)
  for (let from = { seq, sub }; ; ) {
    // What is saved while this reads is hidden no more, and may be in what is read.
    const hidden = new Set(view.hidden)
    const found = await rows.page(device, from.seq, from.sub, watermark.value(), limit)
    noteRead(track, from, found)
    const shown = found.filter((row) => !hidden.has(positionKey(row)) && !view.hidden.has(positionKey(row)))
    const last = found.at(-1)
    if (shown.length > 0) return shown
    if (last === undefined) break
    from = last
  }
  forgetIdle(parts, device, view)
  return []
}

function close(parts: Parts, device: string, sentSeq: number): void {
  const view = viewOf(parts, device)
  view.open = Math.max(0, view.open - 1)
  if (view.slot >= 0) {
    parts.states.close(device, view.slot, sentSeq).catch((error: Error) => {
      parts.log.warn({ device, error: error.message }, 'a device counts as connected still')
    })
  }
  if (view.acknowledged.length > 0) void save(parts, device)
  else forgetIdle(parts, device, view)
}

/** A walk over all inboxes leaves nothing behind. */
function forgetWalked({ views, walked }: Parts): void {
  const beforeMs = performance.now() - WALKED_KEPT_MS
  for (const [device, atMs] of walked) {
    if (atMs > beforeMs) continue
    walked.delete(device)
    const view = views.get(device)
    if (view?.open === 0 && view.acknowledged.length === 0 && view.saving === undefined) views.delete(device)
  }
}

export function createInboxView(
  rows: InboxRows,
  states: DeviceStates,
  watermark: LowWatermark,
  log: Log,
  wake: (device: string) => void,
): InboxView {
  const parts: Parts = {
    ...{ rows, states, watermark, log, wake },
    ...{ views: new Map(), behind: new Map(), dirty: new Set(), walked: new Map(), unsettled: new Map() },
  }
  const timer = setInterval(() => {
    for (const device of parts.dirty) void save(parts, device)
    for (const device of parts.unsettled.keys()) settle(parts, device, [])
    forgetWalked(parts)
  }, SAVE_EVERY_MS)
  timer.unref()
  const inbox: Inbox = {
    async open(device) {
      const { appendedSeq, ...state } = await states.open(device)
      await readable(parts, device, appendedSeq)
      while (parts.views.get(device)?.saving !== undefined) await parts.views.get(device)?.saving
      const view = viewOf(parts, device)
      // It may have been elsewhere meanwhile, and have acknowledged there what is open here.
      if (view.open === 0) view.track = undefined
      view.open++
      return state
    },
    setSubscribed: (device, subscribed) => states.setSubscribed(device, subscribed),
    async advanceSlot(device) {
      const slot = await states.advanceSlot(device)
      viewOf(parts, device).slot = slot
      return slot
    },
    page: (device, seq, sub, limit) => page(parts, device, seq, sub, limit),
    markOf: (by, peer) => states.markOf(by, peer),
    acknowledge(device, acknowledged, stamps, marks) {
      if (stamps.length > 0) settle(parts, device, stamps)
      if (acknowledged.length > 0) acknowledge(parts, device, acknowledged, marks)
    },
    close: (device, sentSeq) => close(parts, device, sentSeq),
    async drop(device) {
      parts.views.delete(device)
      parts.dirty.delete(device)
      await Promise.all([rows.drop(device, watermark.value()), states.drop(device)])
    },
  }
  return {
    inbox,
    isBehind: (device) => parts.behind.has(device),
    devicesBehind: () => parts.behind.size,
    sent(row) {
      const track = parts.views.get(row.device)?.track
      // All below it was read or sent: `isBehind` says when not.
      if (track !== undefined) noteRead(track, track.last, [row])
    },
    save: () => saveAll(parts),
    stop() {
      clearInterval(timer)
      return saveAll(parts)
    },
  }
}
