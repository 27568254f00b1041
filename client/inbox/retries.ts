/**
 * What could not be read is asked for again, and what others could not read is sent again (libsignal's retry).
 * A request to send again is not authenticated: it is a hint, limited for each message and each asker, answered only to
 * a device that the message was for, and never after an identity change.
 */
import { decodeContent, encodeContent, SCOPE } from '../../topics/codec.ts'
import type { Context } from '../context.ts'
import { type Body, readRetryRequest, retryRequestOf } from '../crypto/cipher.ts'
import { ACCEPTED, contentOfRequest, outboxRow, queueRequest, queueSignal } from '../outbox/outbox-rows.ts'

const TRIES_MAX = 4
const FIRST_WAIT_MS = 60_000
const RESENDS_PER_MESSAGE_MAX = 5
const RESENDS_PER_ASKER_MAX = 20
const RESENDS_PER_ASKER_MS = 600_000
const ASKERS_MAX = 1_000
/** Requests that name a seq which `accepted` has not told yet. */
const EARLY_MAX = 256

export interface Sender {
  /** The other user of the conversation. */
  readonly peer: string
  readonly author: string
  readonly device: number
}

export interface Retries {
  /** Records what could not be read and asks for it. False: there is nothing that could be asked. In a turn. */
  askAgain(from: Sender, seq: number, body: Body): boolean
  /** Is this the seq of something that was asked for? Then it is not any more. In a turn. */
  settle(from: Sender, seq: number): boolean
  /** Asks again for what was asked for long ago. In a turn. */
  askDue(): void
  /** Answers a retry request. In a turn. */
  answer(from: Sender, plaintext: Uint8Array): void
  /** Answers those that came before the seq was known here that they name. In a turn. */
  answerEarly(): void
}

function queueAsking(context: Context, from: Sender, request: Uint8Array): void {
  const only = { user: from.author, device: from.device }
  const peer = from.author === context.account.user ? context.account.user : from.peer
  queueRequest(context, { row: context.nextRow(), peer, scope: SCOPE.partial, only, plaintext: request })
}

function askDue(context: Context): void {
  const { store } = context
  const due = store.all('SELECT * FROM unreadable WHERE tries < ? AND due_ms <= ?', TRIES_MAX, context.now())
  for (const row of due) {
    const tries = (row['tries'] as number) + 1
    const dueMs = context.now() + FIRST_WAIT_MS * 4 ** tries
    const [peer, seq] = [row['peer'] as string, row['seq'] as number]
    store.run('UPDATE unreadable SET tries = ?, due_ms = ? WHERE peer = ? AND seq = ?', tries, dueMs, peer, seq)
    const from = { peer, author: row['author'] as string, device: row['device'] as number }
    queueAsking(context, from, row['request'] as Uint8Array)
  }
}

/** The request that a seq names, when this asker may have it again. */
function resendable(context: Context, from: Sender, seq: number) {
  const { store, account, cipher } = context
  const isOwn = from.author === account.user
  for (const found of store.all('SELECT * FROM outbox WHERE seq = ? AND seq > 0', seq).map(outboxRow)) {
    if (!isOwn && found.peer !== from.peer) continue
    if (found.state !== ACCEPTED || !found.devices.includes(`${from.author}.${from.device}`)) continue
    const identity = isOwn ? undefined : cipher.identities.get(from.author)
    if (identity !== undefined && (!identity.isApproved || identity.changedMs >= found.madeMs)) continue
    return found
  }
  return undefined
}

/** The same content under a new stamp, for the one device that asked. */
function resend(context: Context, from: Sender, seq: number): void {
  const { store } = context
  const only = { user: from.author, device: from.device }
  const found = resendable(context, from, seq)
  const bytes = found && contentOfRequest(store, found.row)
  const content = bytes && decodeContent(bytes)
  if (found === undefined || content === undefined || content.fault) return
  if (found.resends >= RESENDS_PER_MESSAGE_MAX) return
  store.run('UPDATE outbox SET resends = resends + 1 WHERE row = ?', found.row)
  queueRequest(context, {
    row: context.nextRow(),
    peer: found.peer,
    scope: SCOPE.partial,
    only,
    content: encodeContent({ ...content, resendOf: content.resendOf || seq }),
  })
}

/** Was something sent to this device of which the seq is not known yet? */
function isUnnumbered({ store }: Context, { author, device }: Sender): boolean {
  const rows = store.all('SELECT devices FROM outbox WHERE stamp > 0 AND state IN (1, 2) AND seq = 0')
  return rows.some((row) => (row['devices'] as string).split(' ').includes(`${author}.${device}`))
}

export function createRetries(context: Context): Retries {
  const { store, account, cipher } = context
  /** Answers to an asker: how many, and since when. */
  const answered = new Map<string, { count: number; sinceMs: number }>()
  let early: { readonly from: Sender; readonly plaintext: Uint8Array }[] = []

  function mayAnswer({ author, device }: Sender): boolean {
    const key = `${author}.${device}`
    const now = context.now()
    let known = answered.get(key)
    if (known === undefined || now - known.sinceMs > RESENDS_PER_ASKER_MS) {
      if (answered.size >= ASKERS_MAX) answered.clear()
      known = { count: 0, sinceMs: now }
      answered.set(key, known)
    }
    return ++known.count <= RESENDS_PER_ASKER_MAX
  }

  function answer(from: Sender, plaintext: Uint8Array): void {
    const request = readRetryRequest(plaintext)
    if (request === undefined || request.device !== account.number) return
    const before = resendable(context, from, request.seq)
    // A recipient who is there may ask before this device was told the seq.
    if (before === undefined && isUnnumbered(context, from) && early.length < EARLY_MAX) {
      early.push({ from, plaintext: Uint8Array.from(plaintext) })
      return
    }
    if (!mayAnswer(from)) return
    cipher.archiveIfCurrent(from.author, from.device, request.ratchetKey)
    if (before !== undefined) resend(context, from, request.seq)
    else if (cipher.hasSession(from.author, from.device)) {
      const peer = from.author === account.user ? account.user : from.peer
      queueSignal(context, peer, { heal: {} }, { user: from.author, device: from.device })
    }
  }

  return {
    askAgain(from, seq, body) {
      const request = retryRequestOf(body, seq, from.device)
      if (request === undefined) return false
      const { peer, author, device } = from
      store.run(
        `INSERT OR IGNORE INTO unreadable (peer, seq, author, device, tries, due_ms, request)
          VALUES (?, ?, ?, ?, 1, ?, ?)`,
        peer,
        seq,
        author,
        device,
        context.now() + FIRST_WAIT_MS,
        request,
      )
      queueAsking(context, from, request)
      return true
    },
    settle({ peer, author }, seq) {
      return store.run('DELETE FROM unreadable WHERE peer = ? AND seq = ? AND author = ?', peer, seq, author) > 0
    },
    askDue: () => askDue(context),
    answer,
    answerEarly() {
      const waiting = early
      early = []
      for (const { from, plaintext } of waiting) answer(from, plaintext)
    },
  }
}
