/** What a user says: texts, read marks, and the name of whom they go to. */
import { encodeContent, SCOPE } from '../topics/codec.ts'
import { isHandle, pairConversation } from '../topics/ids.ts'
import { ApiFault } from './api.ts'
import { type Core, idBytes } from './core.ts'
import { handleOfUser, setHandle, userOfHandle } from './device-lists.ts'
import { ClientFault } from './faults.ts'
import { type Message, marksOf, peekMarks, putMessage, raiseMarks, readMessage } from './message-rows.ts'
import { clientCodeOfFault, type Outbox } from './outbox.ts'
import { newContentId, queueRequest } from './outbox-rows.ts'
import { readRequest } from './receipts.ts'
import type { Transport } from './transport.ts'

export const TEXT_BYTES_MAX = 16 * 1024

/** Durable in conversation and outbox when it resolves. */
export async function send(core: Core, outbox: Outbox, peer: string, text: string): Promise<Message> {
  const { store, account } = core
  if (account.user === '') throw new ClientFault('not_registered')
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
  await store.turn(() => {
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

/** Kept until the server has it: `tellReadMarks` says it again at every connection. */
export async function markRead(core: Core, transport: Transport | undefined, peer: string): Promise<void> {
  const { store, account } = core
  const last = store.peek(
    'SELECT max(seq) AS seq FROM messages WHERE peer = ? AND author <> ? AND shown = 1',
    peer,
    account.user,
  )
  const upTo = Number(last[0]?.['seq'] ?? 0)
  if (upTo <= peekMarks(store, peer).ownRead) return
  await store.turn(() => raiseMarks(store, peer, { ownRead: upTo }))
  if (transport?.isOnline() === true) tellReadMarks(core, transport, peer)
}

/** Read marks that no server took yet; they may be said again. */
export function tellReadMarks({ store }: Core, transport: Transport | undefined, peer?: string): void {
  const rows = store.peek('SELECT peer, own_read FROM conversations WHERE own_read > told_read')
  for (const row of rows) {
    const user = row['peer'] as string
    if (peer === undefined || peer === user) transport?.publish(readRequest(user, row['own_read'] as number), 0)
  }
}
