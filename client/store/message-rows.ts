/**
 * Messages in the database: put once for each (author, Content.id), and shown in the order of the conversation. The
 * place of a message is its seq; an own one without a seq stands behind the highest seq that was held when it was
 * written, by its stamp (WIRE rule 5).
 */
import type { Content } from '../../topics/codec/content-plain.ts'
import { decodeContent } from '../../topics/codec.ts'
import { uuidText } from '../../topics/ids.ts'
import type { ClientErrorCode } from '../faults.ts'
import type { Columns, Store } from './open.ts'

/** Of an own message: how far it has come. Of another's: `delivered`, and `read` when this user read it. */
export type MessageStatus = 'waiting' | 'accepted' | 'delivered' | 'read' | 'failed'

/** A message as it is shown. */
export interface Message {
  /** The other user of the conversation. */
  readonly peer: string
  readonly author: string
  readonly isOwn: boolean
  /** UUID text: its name for ever. */
  readonly id: string
  readonly text: string
  /** 0: the server has not numbered it yet. */
  readonly seq: number
  /** Unix ms by the author's clock. */
  readonly sentMs: number
  readonly status: MessageStatus
  /** Why it failed; '' when it did not. */
  readonly failure: ClientErrorCode | ''
}

export interface NewMessage {
  readonly row: number
  readonly peer: string
  readonly author: string
  readonly device: number
  readonly id: Uint8Array
  readonly seq: number
  readonly place: number
  readonly stamp: number
  readonly isShown: boolean
  readonly sentMs: number
  /** A Content without padding. */
  readonly content: Uint8Array
}

/** Marks of a conversation, all "up to seq". */
export interface Marks {
  readonly highest: number
  readonly delivered: number
  readonly read: number
  readonly ownRead: number
  readonly toldRead: number
}

/** What this client knows of contents; one that `needs` more is kept, and read after the update. */
const CONTENT_VERSION = 1
/** Contents that have a place in the conversation. */
const SHOWN_KINDS: ReadonlySet<string | undefined> = new Set(['post'])

/** Does it have a place in the conversation? What only a later version can tell does, to say so. */
export const isShownContent = ({ kind, needs }: Pick<Content, 'kind' | 'needs'>): boolean =>
  SHOWN_KINDS.has(kind) || needs > CONTENT_VERSION

const NO_MARKS: Marks = { highest: 0, delivered: 0, read: 0, ownRead: 0, toldRead: 0 }
const PUT = `INSERT OR IGNORE INTO messages
  (row, peer, author, device, id, seq, place, stamp, shown, failed, sent_ms, sealed)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?)`
const SHOWN = `SELECT m.*, o.state FROM messages m LEFT JOIN outbox o ON o.row = m.row
  WHERE m.peer = ? AND m.shown = 1`

/** In a turn. False: it was there before, and nothing was changed. */
export function putMessage(store: Store, message: NewMessage): boolean {
  const { row, peer, author, device, id, seq, place, stamp, isShown, sentMs, content } = message
  const sealed = store.vault.seal(`message ${row}`, content)
  return store.run(PUT, row, peer, author, device, id, seq, place, stamp, isShown ? 1 : 0, sentMs, sealed) > 0
}

/**
 * Its author sent it anew to all, having lost the number of before: it stands at the later one, for everybody. In a
 * turn.
 */
export function moveUp(
  store: Store,
  { peer, author, id, seq }: Pick<NewMessage, 'peer' | 'author' | 'id' | 'seq'>,
): void {
  const set = 'UPDATE messages SET seq = ?, place = ? WHERE peer = ? AND author = ? AND id = ? AND seq > 0 AND seq < ?'
  store.run(set, seq, seq, peer, author, id, seq)
}

/** It stands in another place than it was put. In a turn. */
export function moveTo(
  store: Store,
  { peer, author, id, seq }: Pick<NewMessage, 'peer' | 'author' | 'id' | 'seq'>,
): void {
  store.run(
    'UPDATE messages SET seq = ?, place = ? WHERE peer = ? AND author = ? AND id = ?',
    seq,
    seq,
    peer,
    author,
    id,
  )
}

/** In a turn. */
export function contentOf(store: Store, row: number): Buffer | undefined {
  const sealed = store.get('SELECT sealed FROM messages WHERE row = ?', row)?.['sealed'] as Uint8Array | undefined
  return sealed && store.vault.open(`message ${row}`, sealed)
}

/** Was a delivery with this seq of the conversation worked off before? In a turn. */
export function isHandled(store: Store, peer: string, seq: number): boolean {
  return (
    store.get('SELECT 1 FROM messages WHERE peer = ? AND seq = ?', peer, seq) !== undefined ||
    store.get('SELECT 1 FROM handled WHERE peer = ? AND seq = ?', peer, seq) !== undefined
  )
}

/** Notes a delivery that left no message under its seq. In a turn. */
export function noteHandled(store: Store, peer: string, seq: number): void {
  store.run('INSERT OR IGNORE INTO handled (peer, seq) VALUES (?, ?)', peer, seq)
}

/** The first row that no message and no request has. */
export function firstFreeRow(store: Store): number {
  const last = (table: string) => `coalesce((SELECT max(row) FROM ${table}), 0)`
  const sql = `SELECT max(${last('messages')}, ${last('outbox')}) AS last`
  return Number(store.peek(sql)[0]?.['last'] ?? 0) + 1
}

const marksFrom = (row: Columns | undefined): Marks =>
  row === undefined
    ? NO_MARKS
    : {
        highest: row['highest'] as number,
        delivered: row['delivered'] as number,
        read: row['read'] as number,
        ownRead: row['own_read'] as number,
        toldRead: row['told_read'] as number,
      }

const MARKS = 'SELECT * FROM conversations WHERE peer = ?'
/** In a turn. */
export const marksOf = (store: Store, peer: string): Marks =>
  store.memory.recall(`marks ${peer}`, () => marksFrom(store.get(MARKS, peer)))
/** Outside of turns. */
export const peekMarks = (store: Store, peer: string): Marks => marksFrom(store.peek(MARKS, peer)[0])

/** Raises marks; they only grow. In a turn. True: something changed. */
export function raiseMarks(store: Store, peer: string, to: Partial<Marks>): boolean {
  const before = marksOf(store, peer)
  const isRaised = (Object.keys(to) as (keyof Marks)[]).some((name) => (to[name] ?? 0) > before[name])
  if (!isRaised) return false
  const max = (name: keyof Marks) => Math.max(before[name], to[name] ?? 0)
  const after: Marks = {
    highest: max('highest'),
    delivered: max('delivered'),
    read: max('read'),
    ownRead: max('ownRead'),
    toldRead: max('toldRead'),
  }
  store.run(
    `INSERT OR REPLACE INTO conversations (peer, highest, delivered, read, own_read, told_read)
      VALUES (?, ?, ?, ?, ?, ?)`,
    peer,
    after.highest,
    after.delivered,
    after.read,
    after.ownRead,
    after.toldRead,
  )
  store.memory.put(`marks ${peer}`, after)
  return true
}

function statusOf(row: Columns, marks: Marks, isOwn: boolean): MessageStatus {
  if (row['failed'] !== '') return 'failed'
  const seq = row['seq'] as number
  if (!isOwn) return seq <= marks.ownRead ? 'read' : 'delivered'
  if (seq > 0 && seq <= marks.read) return 'read'
  if (seq > 0 && seq <= marks.delivered) return 'delivered'
  const state = row['state'] as number | null
  return seq > 0 || state === null || state >= 2 ? 'accepted' : 'waiting'
}

function messageFrom(store: Store, row: Columns, marks: Marks, self: string): Message {
  const content = decodeContent(store.vault.open(`message ${row['row']}`, row['sealed'] as Uint8Array))
  const isOwn = row['author'] === self
  const isNewer = !content.fault && content.needs > CONTENT_VERSION
  return {
    peer: row['peer'] as string,
    author: row['author'] as string,
    isOwn,
    id: uuidText(row['id'] as Uint8Array),
    text: content.fault || isNewer ? '' : (content.post?.text ?? ''),
    seq: row['seq'] as number,
    sentMs: row['sent_ms'] as number,
    status: isNewer ? 'failed' : statusOf(row, marks, isOwn),
    failure: isNewer ? 'newer_content' : (row['failed'] as ClientErrorCode | ''),
  }
}

/** The last `limit` messages, oldest first; `before` a message: those in front of it. Reads what is committed. */
export function listMessages(store: Store, peer: string, self: string, limit: number, before?: Message): Message[] {
  const marks = peekMarks(store, peer)
  const order = 'ORDER BY m.place DESC, m.stamp DESC, m.row DESC LIMIT ?'
  const rows =
    before === undefined
      ? store.peek(`${SHOWN} ${order}`, peer, limit)
      : store.peek(
          `${SHOWN} AND (m.place, m.stamp, m.row) <
            (SELECT place, stamp, row FROM messages WHERE author = ? AND id = ?) ${order}`,
          peer,
          before.author,
          Buffer.from(before.id.replaceAll('-', ''), 'hex'),
          limit,
        )
  return rows.reverse().map((row) => messageFrom(store, row, marks, self))
}

/** One message by its row. Reads what is committed. */
export function readMessage(store: Store, row: number, self: string): Message | undefined {
  const found = store.peek(
    'SELECT m.*, o.state FROM messages m LEFT JOIN outbox o ON o.row = m.row WHERE m.row = ? AND m.shown = 1',
    row,
  )[0]
  return found && messageFrom(store, found, peekMarks(store, found['peer'] as string), self)
}

/** Conversations, the one with the newest message first. */
export function listConversations(store: Store, self: string): { readonly peer: string; readonly unread: number }[] {
  const rows = store.peek(
    `SELECT m.peer, sum(m.author <> ? AND m.seq > coalesce(c.own_read, 0)) AS unread
      FROM messages m LEFT JOIN conversations c ON c.peer = m.peer WHERE m.shown = 1
      GROUP BY m.peer ORDER BY max(m.place) DESC`,
    self,
  )
  return rows.map((row) => ({ peer: row['peer'] as string, unread: Number(row['unread']) }))
}
