/**
 * The Inbox port over two stores: rows that are immutable and a cursor (InboxRows), and what is quick and exact of a
 * device (DeviceStates). Acknowledged rows leave by the cursor, which is saved after their marks were appended (B3), each
 * second, after some acknowledgements, and at close; after a kill what was acknowledged since is sent again. Bounded: a
 * window of rows for each device that is connected here.
 */
import { newTrack, noteAcknowledged, noteRead, positionKey, type Track, takeCursor } from './cursor.ts'
import type { LowWatermark } from './low-watermark.ts'
import type { DeviceStates, Inbox, InboxRows, Log, Mark, Row } from './ports.ts'

const SAVE_EVERY_MS = 1_000
const SAVE_AFTER_ROWS = 100

/** Acknowledged rows whose marks may not be appended yet. */
interface Acknowledged {
  readonly rows: readonly Row[]
  readonly marks: readonly Mark[]
}

interface View {
  /** Undefined until the first page. */
  track: Track | undefined
  acknowledged: Acknowledged[]
  /** Positions in `acknowledged`: they are not given again. */
  readonly hidden: Set<string>
  slot: number
  isOpen: boolean
  saving: Promise<void> | undefined
}

export interface InboxView {
  readonly inbox: Inbox
  /** Saves what is left to save, as far as the stores answer. */
  stop(): Promise<void>
}

export function createInboxView(
  rows: InboxRows,
  states: DeviceStates,
  watermark: LowWatermark,
  log: Log,
): InboxView {
  const views = new Map<string, View>()
  const dirty = new Set<string>()

  function viewOf(device: string): View {
    let view = views.get(device)
    if (view === undefined) {
      view = { track: undefined, acknowledged: [], hidden: new Set(), slot: -1, isOpen: false, saving: undefined }
      views.set(device, view)
    }
    return view
  }

  async function isSaid(mark: Mark): Promise<boolean> {
    return (await states.markOf(mark.by, mark.peer)) >= mark.upTo
  }

  async function saveNow(device: string, view: View): Promise<void> {
    const { track } = view
    if (track === undefined) return
    const taken = view.acknowledged.splice(0)
    const left: Acknowledged[] = []
    for (const each of taken) {
      const said = await Promise.all(each.marks.map(isSaid))
      if (said.includes(false)) left.push(each)
      else noteAcknowledged(track, each.rows)
    }
    view.acknowledged.unshift(...left)
    if (left.length < taken.length) await rows.saveCursor(device, takeCursor(track))
    for (const each of taken) {
      if (!left.includes(each)) for (const row of each.rows) view.hidden.delete(positionKey(row))
    }
    if (left.length === 0) dirty.delete(device)
    if (!view.isOpen && view.acknowledged.length === 0) views.delete(device)
  }

  function save(device: string): Promise<void> {
    const view = viewOf(device)
    view.saving ??= saveNow(device, view)
      .catch((error: Error) => log.warn({ device, error: error.message }, 'a cursor could not be saved; it is tried again'))
      .finally(() => {
        view.saving = undefined
      })
    return view.saving
  }

  const timer = setInterval(() => {
    for (const device of dirty) void save(device)
  }, SAVE_EVERY_MS)
  timer.unref()

  async function trackOf(device: string, view: View): Promise<Track> {
    view.track ??= newTrack(await rows.cursor(device))
    return view.track
  }

  const inbox: Inbox = {
    async open(device) {
      const [state] = await Promise.all([states.open(device), watermark.refresh()])
      const view = viewOf(device)
      view.isOpen = true
      return state
    },
    setSubscribed: (device, subscribed) => states.setSubscribed(device, subscribed),
    async advanceSlot(device) {
      const view = viewOf(device)
      view.slot = await states.advanceSlot(device)
      return view.slot
    },
    async page(device, seq, sub, limit) {
      const view = viewOf(device)
      const track = await trackOf(device, view)
      let found = await rows.page(device, seq, sub, watermark.value(), limit)
      noteRead(track, found)
      // A page of what was acknowledged and is not saved yet says nothing of what is behind it.
      for (let last = found.at(-1); last !== undefined; last = found.at(-1)) {
        const shown = found.filter((row) => !view.hidden.has(positionKey(row)))
        if (shown.length > 0) return shown
        found = await rows.page(device, last.seq, last.sub, watermark.value(), limit)
        noteRead(track, found)
      }
      if (!view.isOpen && view.acknowledged.length === 0) views.delete(device)
      return []
    },
    markOf: (by, peer) => states.markOf(by, peer),
    acknowledge(device, acknowledged, stamps, marks) {
      const view = viewOf(device)
      if (stamps.length > 0) {
        states
          .settle(device, stamps)
          .catch((error: Error) => log.warn({ device, error: error.message }, 'records stay: they are told again'))
      }
      if (acknowledged.length === 0) return
      view.acknowledged.push({ rows: acknowledged, marks })
      for (const row of acknowledged) view.hidden.add(positionKey(row))
      dirty.add(device)
      if (view.hidden.size >= SAVE_AFTER_ROWS && view.acknowledged.length > 0 && marks.length === 0) void save(device)
    },
    close(device, sentSeq) {
      const view = viewOf(device)
      view.isOpen = false
      if (view.slot >= 0) {
        states
          .close(device, view.slot, sentSeq)
          .catch((error: Error) => log.warn({ device, error: error.message }, 'a device counts as connected still'))
      }
      if (view.acknowledged.length > 0) void save(device)
      else views.delete(device)
    },
    async drop(device) {
      views.delete(device)
      dirty.delete(device)
      await Promise.all([rows.drop(device, watermark.value()), states.drop(device)])
    },
  }
  return {
    inbox,
    async stop() {
      clearInterval(timer)
      await Promise.all([...dirty].map(save))
    },
  }
}
