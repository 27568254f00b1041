/**
 * One delivery with a body, in a turn: decrypted, checked against its envelope, put into its conversation once. What
 * cannot be read is asked for again; what is not what it claims to be is dropped and said. The ratchet, the message and
 * the marks of one delivery are durable together, and only then the server is told.
 */

import type { Content } from '../../topics/codec/content-plain.ts'
import { unpad } from '../../topics/codec/padding.ts'
import { type Delivery, decodeContent } from '../../topics/codec.ts'
import { ID_BYTES, uuidText } from '../../topics/ids.ts'
import { type Context, conversationWith } from '../context.ts'
import type { Body } from '../crypto/cipher.ts'
import { senderOfPrekeyMessage } from '../crypto/prekey-message.ts'
import { devicesOf, setDevices } from '../store/device-lists.ts'
import {
  isHandled,
  isShownContent,
  moveTo,
  moveUp,
  noteHandled,
  putMessage,
  raiseMarks,
  readMessage,
} from '../store/message-rows.ts'
import type { Turn } from '../store/open.ts'
import type { OwnContents } from './own-contents.ts'
import { restoredSeq } from './restored.ts'
import type { Retries, Sender } from './retries.ts'

const CLOCK_AHEAD_MS = 86_400_000
const UNASKED_MAX = 1_000

function bodyOf(delivery: Delivery): Body | undefined {
  if (delivery.kind === 'whisper') return { field: 'whisper', bytes: delivery.whisper as Uint8Array }
  if (delivery.kind === 'prekey') return { field: 'prekey', bytes: delivery.prekey as Uint8Array }
  return undefined
}

/** Undefined: the envelope does not say whose it is. */
function senderOf(context: Context, delivery: Delivery): Sender | undefined {
  const { peer, device, own } = delivery
  if (peer?.length !== ID_BYTES || device < 1 || device > 127) return undefined
  const other = uuidText(peer)
  const author = own ? context.account.user : other
  if (author === context.account.user && device === context.account.number) return undefined
  return { peer: other, author, device }
}

/** A content that is complete and belongs to this conversation; else why not. */
function checked(context: Context, from: Sender, padded: Uint8Array): Content | string {
  const bytes = unpad(padded)
  const content = bytes && decodeContent(bytes)
  if (content === undefined || content.fault) return 'its content is malformed'
  if (content.id?.length !== ID_BYTES) return 'it has no name'
  const conversation = conversationWith(context, from.peer)
  if (content.conversation === undefined || Buffer.compare(content.conversation, conversation) !== 0) {
    return 'it belongs to another conversation'
  }
  return content
}

/** When it was written, by the author; a clock far ahead does not reach beyond a day from now. */
function sentMsOf(context: Context, id: Uint8Array): number {
  const ms = Buffer.from(id.buffer, id.byteOffset, 6).readUIntBE(0, 6)
  return Math.min(ms, context.now() + CLOCK_AHEAD_MS)
}

export interface Receiver {
  /** Works one delivery off. Never throws for what a server or peer sends. */
  receive(turn: Turn, delivery: Delivery): Promise<void>
  /** Everything that waited has come. In a turn. */
  onCaughtUp(isRestored: boolean): void
}

/** Told, after the commit, of every message that begins a session and was read. */
export type OnFirstMessage = (from: Sender, seq: number, bytes: Uint8Array) => void

interface Parts {
  readonly context: Context
  readonly retries: Retries
  readonly own: OwnContents
  readonly onFirst: OnFirstMessage
  /** Resends of this connection that stand where they came, since nobody asked for them. */
  readonly unasked: { peer: string; author: string; id: Uint8Array; resendOf: number }[]
}

/**
 * A resend stands where the message stood that could not be read: but only if that was asked for, or may have been by
 * what was lost with a database that was put back.
 */
function placeOf({ context, retries }: Parts, from: Sender, seq: number, resendOf: number): number {
  if (resendOf === 0) return seq
  if (retries.settle(from, resendOf)) return resendOf
  const mayBeAsked = resendOf < restoredSeq(context) && !isHandled(context.store, from.peer, resendOf)
  return mayBeAsked ? resendOf : seq
}

/** That nobody asked for is seen before it is known that the database was put back: then it may have been. */
function placeUnasked({ context, unasked }: Parts): void {
  for (const { resendOf, ...message } of unasked.splice(0)) {
    if (!isHandled(context.store, message.peer, resendOf)) moveTo(context.store, { ...message, seq: resendOf })
  }
}

/** Once for each (author, Content.id). */
function put(parts: Parts, turn: Turn, from: Sender, seq: number, content: Content, bytes: Uint8Array): void {
  const { context, retries, own } = parts
  const { store, emit, account } = context
  const { peer, author, device } = from
  const id = content.id as Uint8Array
  const row = context.nextRow()
  const place = placeOf(parts, from, seq, content.resendOf)
  // A false copy under this seq may have been asked for before the genuine one came.
  retries.settle(from, seq)
  const sentMs = sentMsOf(context, id)
  if (!isShownContent(content)) {
    noteHandled(store, peer, seq)
    return own.take(turn, from, content)
  }
  const isNew = putMessage(store, {
    row,
    peer,
    author,
    device,
    id: Uint8Array.from(id),
    seq: place,
    place,
    stamp: 0,
    isShown: true,
    sentMs,
    content: bytes,
  })
  // A copy that was asked for again stands where it stood, too.
  if (!isNew && (content.resendOf === 0 || place !== seq)) moveUp(store, { peer, author, id, seq: place })
  if (!isNew || place !== seq) noteHandled(store, peer, seq)
  if (!isNew) return
  if (content.resendOf > 0 && place === seq && parts.unasked.length < UNASKED_MAX) {
    parts.unasked.push({ peer, author, id: Uint8Array.from(id), resendOf: content.resendOf })
  }
  turn.after(() => {
    const message = readMessage(store, row, account.user)
    if (message !== undefined) emit('message', message)
  })
}

/** A device that was not listed has written: its session is there, and whoever talks to its user is warned. */
function noteDevice(context: Context, turn: Turn, { author, device }: Sender, body: Body): void {
  // One's own are told by the server, and get the history then.
  if (body.field !== 'prekey' || author === context.account.user) return
  const { store, emit } = context
  const listed = devicesOf(store, author)
  const registrationId = senderOfPrekeyMessage(body.bytes)?.registrationId ?? 0
  if (listed === undefined || listed.some(({ number }) => number === device)) return
  setDevices(store, author, [...listed, { number: device, registrationId }])
  turn.after(() => emit('devicesChanged', { user: author, added: [device], removed: [] }))
}

async function read(parts: Parts, turn: Turn, from: Sender, seq: number, body: Body): Promise<void> {
  const { context, retries } = parts
  const { store, cipher, emit } = context
  const result = await cipher.decrypt(from.author, from.device, body)
  for (const user of cipher.identities.takeChanged()) turn.after(() => emit('identityChanged', { user }))
  if ('fault' in result) {
    if (retries.askAgain(from, seq, body)) return turn.after(() => emit('unreadable', { peer: from.peer }))
    noteHandled(store, from.peer, seq)
    turn.after(() => emit('fault', { code: 'undecryptable', text: `A delivery is no message: ${result.text}` }))
    return
  }
  const content = checked(context, from, result.content)
  if (typeof content === 'string') {
    noteHandled(store, from.peer, seq)
    const text = `A message of ${from.author} was dropped: ${content}.`
    turn.after(() => emit('fault', { code: 'undecryptable', text }))
    return
  }
  noteDevice(context, turn, from, body)
  if (body.field === 'prekey') turn.after(() => parts.onFirst(from, seq, body.bytes))
  put(parts, turn, from, seq, content, unpad(result.content) as Uint8Array)
}

export function createReceiver(
  context: Context,
  retries: Retries,
  own: OwnContents,
  onFirst: OnFirstMessage,
): Receiver {
  const { store, emit } = context
  const parts: Parts = { context, retries, own, onFirst, unasked: [] }
  return {
    onCaughtUp(isRestored) {
      if (isRestored) placeUnasked(parts)
      parts.unasked.length = 0
    },
    async receive(turn, delivery) {
      const from = senderOf(context, delivery)
      if (from === undefined) {
        turn.after(() => emit('fault', { code: 'bad_answer', text: 'A delivery does not say whose it is.' }))
        return
      }
      const { seq } = delivery
      // What was asked for is tried again: the copy before may have been a false one.
      if (isHandled(store, from.peer, seq)) return
      if (delivery.kind === 'plaintext') {
        noteHandled(store, from.peer, seq)
        return retries.answer(from, delivery.plaintext as Uint8Array)
      }
      const body = bodyOf(delivery)
      if (body === undefined) return
      raiseMarks(store, from.peer, { highest: seq })
      await read(parts, turn, from, seq, body)
    },
  }
}
