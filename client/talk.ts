/** What a user says, and the names of those one talks with. */
import { encodeContent, SCOPE } from '../topics/codec.ts'
import { isErrorCode } from '../topics/errors.ts'
import { isHandle, pairConversation, parseUuid, uuidText } from '../topics/ids.ts'
import { ApiFault } from './api.ts'
import { type Core, idBytes } from './core.ts'
import { handleOfUser, setHandle, userOfHandle } from './device-lists.ts'
import { ClientFault, clientCodeOf } from './faults.ts'
import { type Message, marksOf, putMessage, readMessage } from './message-rows.ts'
import type { Outbox } from './outbox.ts'
import { newContentId, queueRequest } from './outbox-rows.ts'

export const TEXT_BYTES_MAX = 16 * 1024

/** In the one form that all rows have it. */
function isUser(peer: string): boolean {
  const bytes = parseUuid(peer)
  return bytes !== undefined && uuidText(bytes) === peer
}

/** Durable in conversation and outbox when it resolves. */
export async function send(core: Core, outbox: Outbox, peer: string, text: string): Promise<Message> {
  const { store, account } = core
  if (account.user === '') throw new ClientFault('not_registered')
  if (!isUser(peer))
    throw new ClientFault('unknown_peer', `${JSON.stringify(peer)} is no user id; ask findUser for it.`)
  if (text === '') throw new ClientFault('invalid', 'There is nothing to send: the text is empty.')
  if (!text.isWellFormed()) throw new ClientFault('invalid', 'The text is not well-formed Unicode.')
  if (Buffer.byteLength(text) > TEXT_BYTES_MAX) {
    throw new ClientFault('too_large', `A text may have ${TEXT_BYTES_MAX} bytes; send it in parts.`)
  }
  const nowMs = core.now()
  const id = newContentId(nowMs)
  const conversation = pairConversation(idBytes(account.user), idBytes(peer))
  const content = encodeContent({ id, conversation, post: { text } })
  const row = core.nextRow()
  await store.shared(() => {
    const place = marksOf(store, peer).highest
    putMessage(store, {
      row,
      peer,
      author: account.user,
      device: account.number,
      id,
      seq: 0,
      place,
      // Behind everything that is held, by the time; the stamp of its request replaces it.
      stamp: Math.max(nowMs, 1),
      isShown: true,
      sentMs: nowMs,
      content,
    })
    queueRequest(core, { row, peer, scope: SCOPE.message })
  })
  outbox.wake()
  return readMessage(store, row, account.user) as Message
}

/** The client's name of a refusal over HTTP. */
function clientCodeOfFault({ code }: ApiFault): ReturnType<typeof clientCodeOf> {
  return isErrorCode(code) ? clientCodeOf(code) : code === 'unreachable' || code === 'bad_answer' ? code : 'refused'
}

/** Who is known is found offline as well. */
export async function findUser(core: Core, name: string): Promise<string> {
  const { store } = core
  const handle = name.replace(/^@/, '')
  if (!isHandle(handle)) throw new ClientFault('unknown_peer', `${JSON.stringify(name)} is no handle.`)
  const known = userOfHandle(store, handle)
  if (known !== undefined) return known
  try {
    const { user } = await core.api.findUser(handle)
    await store.turn(() => setHandle(store, user, handle))
    return user
  } catch (error) {
    if (error instanceof ApiFault && error.code === 'unknown_recipient') {
      throw new ClientFault('unknown_peer', `Nobody is called @${handle}.`)
    }
    throw error instanceof ApiFault ? new ClientFault(clientCodeOfFault(error), error.message) : error
  }
}

/** The handle of somebody who wrote, remembered; '' when there is none or the server cannot be asked now. */
export async function learnHandle(core: Core, user: string): Promise<string> {
  const { store, account, api } = core
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
