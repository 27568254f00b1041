/** An inbox over rows and a cursor: whatever happens in whatever order, no row is skipped, and few come twice. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isAbove, positionKey } from '../../core/cursor.ts'
import { createInboxView, type InboxView } from '../../core/inbox-view.ts'
import type { LowWatermark } from '../../core/low-watermark.ts'
import {
  type DeviceStates,
  type InboxCursor,
  type InboxRows,
  type InboxState,
  type Log,
  ROW_FRAME,
  type Row,
  StoreDownFault,
} from '../../core/ports.ts'

const DEVICE = 'device'
const PEER = { by: 'me', peer: 'you' }
const NODES = 2
const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const down = () => new StoreDownFault('rows', 'the store is down')

function rowAt(seq: number, sub: number): Row {
  return { device: DEVICE, seq, sub, kind: ROW_FRAME, peer: '', expiresMs: 0, source: undefined, start: 0, end: 0 }
}

/** What is durable, of one device. */
interface Store {
  readonly rows: Row[]
  cursor: InboxCursor
  watermark: number
  /** Up to where the mark of the device's user is appended. */
  saidSeq: number
  isDown: boolean
}

interface Node {
  readonly view: InboxView
  isDead: boolean
}

/** The connection that the device has. */
interface Connection {
  readonly node: Node
  at: Row
  /** Delivered on it and not acknowledged. */
  readonly open: Row[]
}

const START = rowAt(0, 0)

function startNode(store: Store): Node {
  const check = () => {
    if (store.isDown || node.isDead) throw down()
  }
  const rows = {
    async page(_device: string, seq: number, sub: number, upToSeq: number, limit: number) {
      check()
      const above = new Set(store.cursor.above.map(positionKey))
      const wanted = (row: Row) =>
        isAbove(row, { seq, sub }) && isAbove(row, store.cursor) && row.seq <= upToSeq && !above.has(positionKey(row))
      return store.rows.filter(wanted).slice(0, limit)
    },
    async cursor() {
      check()
      return store.cursor
    },
    async saveCursor(_device: string, cursor: InboxCursor) {
      check()
      const isSame = !isAbove(cursor, store.cursor) && !isAbove(store.cursor, cursor)
      if (isAbove(cursor, store.cursor) || (isSame && cursor.above.length > store.cursor.above.length)) {
        store.cursor = cursor
      }
    },
  } as unknown as InboxRows
  const state: InboxState & { appendedSeq: number } = {
    subscribed: true,
    sentSeq: 0,
    lastStamp: 0,
    records: [],
    appendedSeq: 0,
  }
  const states = {
    open: async () => state,
    markOf: async () => store.saidSeq,
    close: async () => undefined,
  } as unknown as DeviceStates
  const watermark = {
    value: () => store.watermark,
    onceReadable: (_seq: number, call: () => void) => call(),
  } as unknown as LowWatermark
  const node: Node = { view: createInboxView(rows, states, watermark, quiet, () => undefined), isDead: false }
  return node
}

type Step =
  | { readonly do: 'append'; readonly shard: number; readonly gap: number }
  | { readonly do: 'publish' }
  | { readonly do: 'say' }
  | { readonly do: 'save' }
  | { readonly do: 'break' }
  | { readonly do: 'mend' }
  | { readonly do: 'read'; readonly limit: number }
  | { readonly do: 'acknowledge'; readonly which: number; readonly isMarked: boolean }
  | { readonly do: 'connect'; readonly node: number; readonly isTakeover: boolean }
  | { readonly do: 'kill'; readonly node: number }
  | { readonly do: 'walk'; readonly node: number; readonly from: number; readonly which: number }

class World {
  readonly store: Store = { rows: [], cursor: { seq: 0, sub: 0, above: [] }, watermark: 0, saidSeq: 0, isDown: false }
  readonly acknowledged = new Set<string>()
  /** Acknowledged at a node since it saved last, or waiting for its mark: these may come again. */
  readonly unsaved = new Map<string, { readonly seq: number; readonly node: Node }>()
  nodes = Array.from({ length: NODES }, () => startNode(this.store))
  connection: Connection | undefined
  last = 0

  async take(step: Step): Promise<void> {
    const { store } = this
    if (step.do === 'append') {
      this.last += step.gap
      store.rows.push(rowAt(this.last, step.shard))
    } else if (step.do === 'publish') store.watermark = this.last
    else if (step.do === 'say') store.saidSeq = this.last
    else if (step.do === 'break' || step.do === 'mend') store.isDown = step.do === 'break'
    else if (step.do === 'save') await this.save()
    else if (step.do === 'read') await this.read(step.limit)
    else if (step.do === 'acknowledge') this.acknowledge(step.which, step.isMarked)
    else if (step.do === 'connect') await this.connect(step.node, step.isTakeover)
    else if (step.do === 'kill') await this.kill(step.node)
    else await this.walk(step.node, step.from, step.which)
  }

  async save(): Promise<void> {
    for (const { view } of this.nodes) await view.save()
    if (this.store.isDown) return
    for (const [key, { seq, node }] of this.unsaved) {
      if (seq <= this.store.saidSeq && !node.isDead) this.unsaved.delete(key)
    }
  }

  async read(limit: number): Promise<Row[]> {
    const { connection } = this
    if (connection === undefined) return []
    const { at, node, open } = connection
    const rows = await node.view.inbox.page(DEVICE, at.seq, at.sub, limit).catch(() => [])
    // It may have been read by a connection that is gone meanwhile; steps are one after the other here.
    connection.at = rows.at(-1) ?? at
    open.push(...rows)
    return rows
  }

  acknowledge(which: number, isMarked: boolean): void {
    const { connection } = this
    if (connection === undefined || connection.open.length === 0) return
    const [row] = connection.open.splice(which % connection.open.length, 1) as [Row]
    this.note(row, connection.node, isMarked)
    connection.node.view.inbox.acknowledge(DEVICE, [row], [], isMarked ? [{ ...PEER, upTo: row.seq }] : [])
  }

  note(row: Row, node: Node, isMarked: boolean): void {
    this.acknowledged.add(positionKey(row))
    this.unsaved.set(positionKey(row), { seq: isMarked ? row.seq : 0, node })
  }

  async connect(n: number, isTakeover: boolean): Promise<void> {
    const before = this.connection
    const node = this.nodes[n % this.nodes.length] as Node
    if (!isTakeover) before?.node.view.inbox.close(DEVICE, 0)
    await node.view.inbox.open(DEVICE)
    if (isTakeover) before?.node.view.inbox.close(DEVICE, 0)
    this.connection = { node, at: START, open: [] }
  }

  /** Another one takes its place, and knows nothing. */
  async kill(n: number): Promise<void> {
    const at = n % this.nodes.length
    const dead = this.nodes[at] as Node
    dead.isDead = true
    await dead.view.stop()
    this.nodes[at] = startNode(this.store)
    if (this.connection?.node === dead) this.connection = undefined
  }

  /** As retention does: it reads from somewhere, and ends one of the rows that it finds. */
  async walk(n: number, from: number, which: number): Promise<void> {
    const node = this.nodes[n % this.nodes.length] as Node
    const { inbox } = node.view
    const rows = await inbox.page(DEVICE, from, 0, 3).catch(() => [])
    const row = rows[which % Math.max(1, rows.length)]
    if (row === undefined) return
    this.note(row, node, false)
    inbox.acknowledge(DEVICE, [row], [], [])
  }

  /** Everything is well again, all processes are new: what a device is given. */
  async rest(): Promise<string[]> {
    this.store.isDown = false
    this.store.watermark = this.last
    for (let n = 0; n < this.nodes.length; n++) await this.kill(n)
    await this.connect(0, false)
    const rows: Row[] = []
    for (;;) {
      const some = await this.read(2)
      if (some.length === 0) return rows.map(positionKey)
      rows.push(...some)
    }
  }

  async stop(): Promise<void> {
    for (const { view } of this.nodes) await view.stop()
  }
}

const nat = (max: number) => fc.nat({ max })
const common: fc.WeightedArbitrary<Step>[] = [
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('append'), shard: nat(7), gap: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('publish') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('say') }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('save') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('break') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('mend') }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('read'), limit: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 10, arbitrary: fc.record({ do: fc.constant('acknowledge'), which: nat(5), isMarked: fc.boolean() }) },
]
const connect = (nodes: number): fc.WeightedArbitrary<Step> => ({
  weight: 3,
  arbitrary: fc.record({ do: fc.constant('connect'), node: nat(nodes - 1), isTakeover: fc.boolean() }),
})
const kill = (nodes: number): fc.WeightedArbitrary<Step> => ({
  weight: 1,
  arbitrary: fc.record({ do: fc.constant('kill'), node: nat(nodes - 1) }),
})
const walk: fc.WeightedArbitrary<Step> = {
  weight: 3,
  arbitrary: fc.record({ do: fc.constant('walk'), node: nat(NODES - 1), from: nat(40), which: nat(2) }),
}
const histories = (...steps: fc.WeightedArbitrary<Step>[]) =>
  fc.array(fc.oneof(...(steps as [fc.WeightedArbitrary<Step>])), { minLength: 10, maxLength: 80 })

/** Its view was forgotten while what waited for its mark was looked at, and came again. */
const takenOverWhileSaving: Step[] = [
  { do: 'append', shard: 0, gap: 1 },
  { do: 'publish' },
  { do: 'read', limit: 1 },
  { do: 'acknowledge', which: 0, isMarked: true },
  { do: 'connect', node: 0, isTakeover: true },
  { do: 'connect', node: 0, isTakeover: false },
  { do: 'save' },
  { do: 'say' },
  { do: 'save' },
]

async function rest(history: readonly Step[]) {
  const world = new World()
  await world.connect(0, false)
  for (const step of history) await world.take(step)
  const given = await world.rest()
  await world.stop()
  return { world, given, wanted: world.store.rows.map(positionKey).filter((key) => !world.acknowledged.has(key)) }
}

describe('the view of an inbox', function () {
  this.timeout(60_000)

  it('never skips a row that was not acknowledged, whoever reads, dies, saves or is away, in whatever order', async () => {
    const steps = [...common, connect(NODES), kill(NODES), walk]
    await fc.assert(
      fc.asyncProperty(histories(...steps), async (history) => {
        const { given, wanted } = await rest(history)
        assert.deepEqual(
          wanted.filter((key) => !given.includes(key)),
          [],
        )
        assert.equal(new Set(given).size, given.length)
      }),
      { numRuns: 1_500 },
    )
  })

  // One node: a device that changes nodes may be given once more what the other one was about to save.
  it('gives again only what was acknowledged since the cursor was saved, or waits for its mark', async () => {
    await fc.assert(
      fc.asyncProperty(histories(...common, connect(1), kill(1)), async (history) => {
        const { world, given, wanted } = await rest(history)
        const again = given.filter((key) => !wanted.includes(key))
        assert.deepEqual(
          again.filter((key) => !world.unsaved.has(key)),
          [],
        )
      }),
      { numRuns: 1_500, examples: [[takenOverWhileSaving]] },
    )
  })
})
