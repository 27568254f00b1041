/** What a user says, and the names of those one talks with. */
import { encodeContent, SCOPE } from '../topics/codec.ts'
import { isHandle, parseUuid, uuidText } from '../topics/ids.ts'
import { type Context, conversationWith } from './context.ts'
import { ClientFault } from './faults.ts'
import { ApiFault, asClientFault } from './http/ask.ts'
import type { Outbox } from './outbox/outbox.ts'
import { keepContent, newContentId, queueRequest } from './outbox/outbox-rows.ts'
import { handleOfUser, setHandle, userOfHandle } from './store/device-lists.ts'
import { type Message, marksOf, putMessage } from './store/message-rows.ts'

export const TEXT_BYTES_MAX = 16 * 1024

/** In the one form that all rows have it. */
function isUser(peer: string): boolean {
  const bytes = parseUuid(peer)
  return bytes !== undefined && uuidText(bytes) === peer
}

/** Durable in conversation and outbox when it resolves. */
export async function send(context: Context, outbox: Outbox, peer: string, text: string): Promise<Message> {
  const { store, account } = context
  if (account.user === '') throw new ClientFault('not_registered')
  if (!isUser(peer))
    throw new ClientFault('unknown_peer', `${JSON.stringify(peer)} is no user id; ask findUser for it.`)
  if (text === '') throw new ClientFault('invalid', 'There is nothing to send: the text is empty.')
  if (!text.isWellFormed()) throw new ClientFault('invalid', 'The text is not well-formed Unicode.')
  if (Buffer.byteLength(text) > TEXT_BYTES_MAX) {
    throw new ClientFault('too_large', `A text may have ${TEXT_BYTES_MAX} bytes; send it in parts.`)
  }
  const nowMs = context.now()
  const id = newContentId(nowMs)
  const content = encodeContent({ id, conversation: conversationWith(context, peer), post: { text } })
  const row = context.nextRow()
  const author = account.user
  const message = { row, peer, author, device: account.number, id, seq: 0, isShown: true, sentMs: nowMs, content }
  await store.shared(() => {
    // Behind everything that is held, by the time; the stamp of its request replaces it.
    putMessage(store, { ...message, place: marksOf(store, peer).highest, stamp: Math.max(nowMs, 1) })
    queueRequest(context, { row, peer, scope: SCOPE.message })
    keepContent(store, row, content)
  })
  outbox.wake()
  return { peer, author, isOwn: true, id: uuidText(id), text, seq: 0, sentMs: nowMs, status: 'waiting', failure: '' }
}

/** A handle may be somebody else's by now: the server is asked, and what is known here is for when it is away. */
export async function findUser(context: Context, name: string, isOnline: boolean): Promise<string> {
  const { store } = context
  const handle = name.replace(/^@/, '')
  if (!isHandle(handle)) throw new ClientFault('unknown_peer', `${JSON.stringify(name)} is no handle.`)
  const known = userOfHandle(store, handle)
  if (known !== undefined && !isOnline) return known
  try {
    const { user } = await context.api.findUser(handle)
    await store.turn(() => setHandle(store, user, handle))
    return user
  } catch (error) {
    if (error instanceof ApiFault && error.code === 'unknown_recipient') {
      throw new ClientFault('unknown_peer', `Nobody is called @${handle}.`)
    }
    if (known !== undefined && error instanceof ApiFault) return known
    throw asClientFault(error)
  }
}

/** The handle of somebody who wrote, remembered; '' when there is none or the server cannot be asked now. */
export async function learnHandle(context: Context, user: string): Promise<string> {
  const { store, account, api } = context
  const known = user === account.user ? account.handle : handleOfUser(store, user)
  if (known !== '') return known
  try {
    const handle = await api.handleOf(user)
    await store.turn(() => setHandle(store, user, handle))
    return handle
  } catch (error) {
    if (error instanceof ApiFault) return ''
    throw error
  }
}
