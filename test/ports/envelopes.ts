/** Envelopes as ingress makes them, for suites of the ports. */
import { BODY_FRAME, BODY_MARK, DEDUPE_NONE, type Envelope, type Target, VERDICT_PENDING } from '../../core/envelope.ts'
import type { Inbox, Intake } from '../../core/ports.ts'
import type { Row } from '../../core/row.ts'
import { pairShard } from '../../core/shards.ts'
import { packetIdAt } from '../../topics/frames.ts'

export function target(device: string, more: Partial<Target> = {}): Target {
  return {
    device,
    body: BODY_FRAME,
    topic: Buffer.from(`d/${device}/from/d-x/direct`),
    numbered: false,
    own: false,
    peer: new Uint8Array(16),
    receiptTo: '',
    ...more,
  }
}

/** An envelope for `to` that carries `text`; everything else as in `more`. */
export function envelope(to: string | readonly Target[], text: string, more: Partial<Envelope> = {}): Envelope {
  const source = Buffer.from(text)
  return {
    shard: 0,
    device: '',
    deviceNumber: 1,
    stamp: 0,
    hash: 0,
    dedupe: DEDUPE_NONE,
    afterSeq: 0,
    expiresMs: 0,
    peer: '',
    source,
    targets: typeof to === 'string' ? [target(to)] : to,
    bodies: [{ field: 1, start: 0, end: source.length }],
    mark: undefined,
    verdict: VERDICT_PENDING,
    seq: 0,
    lastStamp: 0,
    rows: [],
    ...more,
  }
}

/** A row that is a mark: its bytes are the text alone. */
export function markEnvelope(to: string, text: string, more: Partial<Envelope> = {}): Envelope {
  return envelope([target(to, { body: BODY_MARK })], text, more)
}

/** Appends one envelope and gives it back, decided. One that carries a mark goes where the mark is looked for. */
export async function append(intake: Intake, one: Envelope): Promise<Envelope> {
  const { mark } = one
  await intake.append(mark === undefined ? 0 : pairShard(mark.by, mark.peer, intake.shards), [one])
  return one
}

/** The payload of a stored frame. */
export function textOf(row: Row): string {
  const frame = (row.source as Uint8Array).subarray(row.start, row.end)
  return Buffer.from(frame.subarray(packetIdAt(frame, 0) + 2)).toString()
}

/** All rows of a device: a page may end where another table begins. */
export async function allRows(inbox: Inbox, device: string): Promise<Row[]> {
  const rows: Row[] = []
  for (;;) {
    const last = rows.at(-1)
    const next = await inbox.page(device, last?.seq ?? 0, last?.sub ?? 0, 1_000)
    if (next.length === 0) return rows
    rows.push(...next)
  }
}
