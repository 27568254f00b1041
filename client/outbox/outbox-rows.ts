/**
 * Requests that wait to be sent, and the log of those that were: what a retry request can ask for. A row is queued
 * until it is encrypted under a stamp (sent), stored when its PUBACK came, accepted when the server told its seq.
 */
import { randomBytes } from 'node:crypto'
import type { Content } from '../../topics/codec/content-plain.ts'
import type { Fields } from '../../topics/codec/plain.ts'
import { encodeContent, SCOPE, type Scope } from '../../topics/codec.ts'
import { seqFromMs } from '../../topics/ids.ts'
import { type Context, conversationWith } from '../context.ts'
import type { ClientErrorCode } from '../faults.ts'
import { contentOf } from '../store/message-rows.ts'
import type { Columns, Store } from '../store/open.ts'

export const QUEUED = 0
export const SENT = 1
export const STORED = 2
export const ACCEPTED = 3
export const FAILED = 4

/** How long what was sent can be asked for again. */
const SENT_KEPT_MS = 14 * 86_400_000
/** Above the 30 days for which a server keeps a delivery. */
const HANDLED_KEPT_MS = 45 * 86_400_000

export interface OutboxRow {
  readonly row: number
  readonly peer: string
  readonly state: number
  readonly stamp: number
  readonly seq: number
  readonly scope: Scope
  /** With a device: it alone gets it. */
  readonly onlyUser: string
  readonly onlyDevice: number
  /** Whom it was encrypted for: `user.number`. */
  readonly devices: readonly string[]
  readonly rounds: number
  readonly resends: number
  readonly madeMs: number
  /** A retry request instead of a content. */
  readonly plaintext: Uint8Array | undefined
}

/** What encrypting it needs. */
export type QueuedRow = Pick<
  OutboxRow,
  'row' | 'peer' | 'scope' | 'onlyUser' | 'onlyDevice' | 'rounds' | 'madeMs' | 'plaintext'
>

export interface NewRequest {
  readonly row: number
  readonly peer: string
  readonly scope: Scope
  readonly only?: { readonly user: string; readonly device: number }
  readonly plaintext?: Uint8Array
  /** For what is in no row of `messages`. */
  readonly content?: Uint8Array
}

function queuedRow(row: Columns): QueuedRow {
  return {
    row: row['row'] as number,
    peer: row['peer'] as string,
    scope: row['scope'] as Scope,
    onlyUser: row['only_user'] as string,
    onlyDevice: row['only_device'] as number,
    rounds: row['rounds'] as number,
    madeMs: row['made_ms'] as number,
    plaintext: (row['plaintext'] as Uint8Array | null) ?? undefined,
  }
}

export function outboxRow(row: Columns): OutboxRow {
  return {
    ...queuedRow(row),
    state: row['state'] as number,
    stamp: row['stamp'] as number,
    seq: row['seq'] as number,
    devices: (row['devices'] as string).split(' ').filter((each) => each !== ''),
    resends: row['resends'] as number,
  }
}

const QUEUED_ROWS = `SELECT row, peer, scope, only_user, only_device, rounds, made_ms, plaintext FROM outbox
  WHERE state = ${QUEUED}`
const OF_OTHERS = "AND coalesce(nullif(only_user, ''), peer) NOT IN (SELECT value FROM json_each(?))"
const IN_ORDER = 'ORDER BY row LIMIT ?'

/** The first ones that are not for one of `held`, in order. Reads what is committed. */
export function queuedRows({ store }: Context, limit: number, held: readonly string[]): QueuedRow[] {
  const rows =
    held.length === 0
      ? store.peek(`${QUEUED_ROWS} ${IN_ORDER}`, limit)
      : store.peek(`${QUEUED_ROWS} ${OF_OTHERS} ${IN_ORDER}`, JSON.stringify(held), limit)
  return rows.map(queuedRow)
}

/** In a turn. */
export function queueRequest(context: Context, request: NewRequest): void {
  const { row, peer, scope, only, plaintext, content } = request
  const { store } = context
  store.run(
    `INSERT INTO outbox (row, peer, state, stamp, seq, scope, only_user, only_device, devices, rounds, resends, due_ms,
      made_ms, plaintext, content, request) VALUES (?, ?, 0, 0, 0, ?, ?, ?, '', 0, 0, 0, ?, ?, ?, NULL)`,
    row,
    peer,
    scope,
    only?.user ?? '',
    only?.device ?? 0,
    context.now(),
    plaintext ?? null,
    content === undefined ? null : store.vault.seal(`outbox ${row}`, content),
  )
}

/** Contents of up to so many bytes are kept in memory until they are encrypted. */
const KEPT_BYTES_MAX = 1_024

/** Mostly a content is encrypted soon after it was written: then it is not read back. In a turn. */
export function keepContent(store: Store, row: number, content: Uint8Array): void {
  if (content.length <= KEPT_BYTES_MAX) store.memory.put(`content ${row}`, content)
}

/** The content that a row sends. In a turn. */
export function contentOfRequest(store: Store, row: number): Uint8Array | undefined {
  const content = store.memory.recall(`content ${row}`, () => readContent(store, row))
  store.memory.forget(`content ${row}`)
  return content
}

function readContent(store: Store, row: number): Buffer | undefined {
  const sealed = store.get('SELECT content FROM outbox WHERE row = ?', row)?.['content'] as
    | Uint8Array
    | null
    | undefined
  return sealed ? store.vault.open(`outbox ${row}`, sealed) : contentOf(store, row)
}

/** Puts a request back to be encrypted anew. In a turn. */
export function requeue(store: Store, row: number): void {
  store.run('UPDATE outbox SET state = 0, stamp = 0, request = NULL, rounds = rounds + 1 WHERE row = ?', row)
}

/** Gives a request up, and says so at its message. In a turn. */
export function failRequest(store: Store, row: number, failure: ClientErrorCode): void {
  store.run('UPDATE outbox SET state = ?, request = NULL WHERE row = ?', FAILED, row)
  store.run('UPDATE messages SET failed = ? WHERE row = ?', failure, row)
}

/** `stamp > 0` is what the index of stamps has: without these words it is not used. */
const MARK_STORED = 'UPDATE outbox SET state = ? WHERE stamp = ? AND stamp > 0 AND state = ? RETURNING peer'

/**
 * Their PUBACK came; their bytes stay until their number is known. Those of which it is known already are left as they
 * are. Gives whose messages they are. In a turn.
 */
export function markStored(store: Store, stamps: readonly number[]): Set<string> {
  const peers = new Set<string>()
  for (const stamp of stamps) {
    const marked = store.get(MARK_STORED, STORED, stamp, SENT)
    if (marked !== undefined) peers.add(marked['peer'] as string)
  }
  return peers
}

/** Forgets what was sent long ago, and what was asked for in vain. In a turn. */
export function pruneOutbox(context: Context): void {
  context.store.run('DELETE FROM unreadable WHERE due_ms < ?', context.now() - SENT_KEPT_MS)
  // No server sends again what is older than it keeps anything.
  context.store.run('DELETE FROM handled WHERE seq < ?', seqFromMs(context.now() - HANDLED_KEPT_MS))
  context.store.run('DELETE FROM outbox WHERE state >= ? AND made_ms < ?', STORED, context.now() - SENT_KEPT_MS)
}

/** A UUID version 7 (RFC 9562): its ms are "sent at". */
export function newContentId(nowMs: number): Uint8Array {
  const id = Uint8Array.from(randomBytes(16))
  const ms = Math.max(0, Math.floor(nowMs))
  for (let i = 0; i < 6; i++) id[i] = Math.floor(ms / 2 ** (8 * (5 - i))) & 255
  id[6] = ((id[6] as number) & 0x0f) | 0x70
  id[8] = ((id[8] as number) & 0x3f) | 0x80
  return id
}

/** Content of the conversation with `peer`, as bytes without padding. */
export function contentFor(context: Context, peer: string, id: Uint8Array, fields: Fields<Content>): Uint8Array {
  return encodeContent({ id, conversation: conversationWith(context, peer), ...fields })
}

/** Queues a content that nobody is shown, for all devices or for one. In a turn. */
export function queueSignal(context: Context, peer: string, fields: Fields<Content>, only?: NewRequest['only']): void {
  const content = contentFor(context, peer, newContentId(context.now()), fields)
  const scope = only === undefined ? SCOPE.signal : SCOPE.partial
  queueRequest(context, { row: context.nextRow(), peer, scope, content, ...(only === undefined ? {} : { only }) })
}
