/**
 * Things that are due a fixed time after they were added: a queue with one timer, so that lingering costs no timer a
 * message and due times stay spread (one global tick made commit stalls of 95 ms).
 */
export interface DueQueue<T> {
  add(item: T): void
  stop(): void
}

/** `handle` gets all items that are due, at most `itemsMax` at a time, oldest first. */
export function createDueQueue<T>(lingerMs: number, itemsMax: number, handle: (items: T[]) => void): DueQueue<T> {
  let items: { item: T; dueMs: number }[] = []
  let head = 0
  let timer: NodeJS.Timeout | undefined

  function arm(): void {
    const first = items[head]
    if (first === undefined || timer !== undefined) return
    timer = setTimeout(run, Math.max(5, first.dueMs - performance.now()))
    timer.unref()
  }

  function run(): void {
    timer = undefined
    const now = performance.now()
    const due: T[] = []
    while (head < items.length && due.length < itemsMax) {
      const next = items[head] as { item: T; dueMs: number }
      if (next.dueMs > now) break
      due.push(next.item)
      head++
    }
    if (head > 1024 || head === items.length) {
      items = items.slice(head)
      head = 0
    }
    if (due.length > 0) handle(due)
    arm()
  }

  return {
    add(item) {
      items.push({ item, dueMs: performance.now() + lingerMs })
      arm()
    },
    stop() {
      clearTimeout(timer)
      items = []
      head = 0
    },
  }
}
