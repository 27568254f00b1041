/**
 * The SDK's client: one account on one device. Everything durable is in its folder; everything that leaves is
 * encrypted. `openClient` gives it; what it can do is in `Client`.
 */
import { uuidText } from '../topics/ids.ts'
import { accountCalls, identityCalls } from './account-calls.ts'
import type { Context } from './context.ts'
import { createCipher } from './crypto/cipher.ts'
import { createKeyUpkeep } from './devices/key-upkeep.ts'
import { createOwnDevices } from './devices/own-devices.ts'
import { accountIn, createEnrolment } from './devices/register.ts'
import { createEmitter } from './events.ts'
import { ClientFault } from './faults.ts'
import { ApiFault, createApi } from './http/api.ts'
import { createInbox } from './inbox/inbox.ts'
import { createOwnContents } from './inbox/own-contents.ts'
import { createReceiver } from './inbox/receive.ts'
import { createRetries } from './inbox/retries.ts'
import { createOutbox } from './outbox/outbox.ts'
import { pruneOutbox } from './outbox/outbox-rows.ts'
import { createReadMarks } from './outbox/read-marks.ts'
import type { Parts } from './parts.ts'
import type { Client, ClientSettings } from './public.ts'
import { handleOfUser } from './store/device-lists.ts'
import { firstFreeRow, listConversations, listMessages } from './store/message-rows.ts'
import { openStore, type Store } from './store/open.ts'
import { findUser, learnHandle, send } from './talk.ts'
import { createTransport, type Transport } from './transport/transport.ts'

const LIST_DEFAULT = 50
const UPKEEP_EVERY_MS = 3_600_000
const ASK_DUE_EVERY_MS = 30_000

const OFFLINE: Pick<Transport, 'isOnline' | 'publish' | 'acknowledge'> = {
  isOnline: () => false,
  publish: () => undefined,
  acknowledge: () => undefined,
}

/** Gives the database back when it does not open: nobody else could use it until this process ends. */
function openParts(settings: ClientSettings): Parts {
  const store = openStore(settings.folder, settings.unlock, settings.pragmas)
  try {
    return assemble(store, settings)
  } catch (error) {
    store.abandon()
    throw error
  }
}

/** Work of which a failure is only told. */
function background(parts: Parts, work: () => Promise<unknown>): void {
  work().catch((error: Error & { code?: string }) => {
    // What the end of the client breaks off is no fault.
    if (error.code === 'closed') return
    parts.emitter.emit('fault', { code: error.code ?? 'refused', text: error.message })
  })
}

function assemble(store: Store, settings: ClientSettings): Parts {
  const now = settings.now ?? Date.now
  const account = accountIn(store, settings.url)
  const emitter = createEmitter()
  const api = createApi(account.url, () => account.token || undefined)
  let row = firstFreeRow(store)
  const cipher = createCipher(store, account, now)
  const context: Context = { store, account, cipher, api, emit: emitter.emit, now, nextRow: () => row++ }
  const transport = () => parts.transport ?? (OFFLINE as Transport)
  const outbox = createOutbox(context, transport)
  const retries = createRetries(context)
  const readMarks = createReadMarks(context, transport)
  const ownDevices = createOwnDevices(context)
  const keys = createKeyUpkeep(context, {
    random: settings.random ?? Math.random,
    later(work) {
      if (transport().isOnline()) background(parts, work)
    },
  })
  const receiver = createReceiver(context, retries, createOwnContents(context), keys.onFirstMessage)
  const inbox = createInbox(context, transport, receiver, retries, outbox, {
    onCaughtUp: (_serverMs, isRestored) => onCaughtUp(parts, isRestored),
    onPrekeysLow: () => background(parts, keys.keep),
    onDevicesChanged(user) {
      if (uuidText(user) === account.user) background(parts, () => ownDevices.refresh().then(outbox.wake))
    },
    onRevoked: () => emitter.emit('revoked', {}),
  })
  const enrolment = createEnrolment(store, account, api, now)
  const parts: Parts = {
    context,
    store,
    account,
    emitter,
    outbox,
    inbox,
    retries,
    readMarks,
    enrolment,
    ownDevices,
    keys,
    transport: undefined,
    timers: [],
  }
  return parts
}

function onCaughtUp(parts: Parts, isRestored: boolean): void {
  const { context, store, retries, outbox, emitter, ownDevices, readMarks, keys } = parts
  emitter.emit('caughtUp', {})
  background(parts, async () => {
    readMarks.tell()
    await store.turn(() => {
      retries.askDue()
      pruneOutbox(context)
    })
    outbox.wake()
    await ownDevices.refresh()
    outbox.wake()
    if (isRestored) await keys.renew()
    await keys.keep()
  })
}

/**
 * MQTT says the same to a device that was removed and to one that came too often; over HTTP a removed one is unknown.
 * What cannot be asked stays open: `offline` was told.
 */
async function askIfRevoked({ context, emitter }: Parts): Promise<void> {
  try {
    await context.api.devices()
  } catch (error) {
    if (error instanceof ApiFault && (error.code === 'unauthorized' || error.code === 'revoked')) {
      emitter.emit('revoked', {})
    }
  }
}

function connect(parts: Parts): void {
  const { account, outbox, inbox, emitter, retries, readMarks, store } = parts
  if (store.isClosed()) throw new ClientFault('closed')
  if (account.token === '') throw new ClientFault('not_registered')
  if (parts.transport !== undefined) return
  const transport = createTransport(
    { url: account.mqtt, device: account.device, token: () => account.token },
    {
      onOnline() {
        outbox.onOnline()
        emitter.emit('online', {})
      },
      onOffline({ reason, text, retryInMs }) {
        outbox.onOffline()
        readMarks.onOffline()
        emitter.emit('offline', { reason, text, retryInMs })
        if (reason === 'unauthorized') background(parts, () => askIfRevoked(parts))
      },
      onDelivery: (payload, ack) => inbox.onDelivery(Uint8Array.from(payload), ack),
      onPuback(stamp) {
        if (stamp > 0) outbox.onPuback(stamp)
        else readMarks.onPuback(stamp)
      },
      onNow: () => undefined,
    },
  )
  parts.transport = transport
  const timer = (everyMs: number, work: () => Promise<unknown>) => {
    parts.timers.push(setInterval(() => transport.isOnline() && background(parts, work), everyMs).unref())
  }
  timer(UPKEEP_EVERY_MS, parts.keys.keep)
  timer(ASK_DUE_EVERY_MS, () => store.turn(() => retries.askDue()).then(outbox.wake))
  transport.start()
}

async function disconnect(parts: Parts): Promise<void> {
  for (const timer of parts.timers) clearInterval(timer)
  parts.timers = []
  const { transport } = parts
  parts.transport = undefined
  parts.outbox.onOffline()
  parts.readMarks.onOffline()
  parts.keys.stop()
  await transport?.stop()
}

/**
 * Opens the client in `settings.folder`, which is made when it is not there. Throws a ClientFault: `locked`,
 * `wrong_passphrase`, `corrupt`, `newer_database`.
 */
export function openClient(settings: ClientSettings): Client {
  const parts = openParts(settings)
  const { context, store, account, outbox, inbox, emitter } = parts
  return {
    ...accountCalls(parts, { connect, disconnect }),
    ...identityCalls(parts),
    connect: () => connect(parts),
    isOnline: () => parts.transport?.isOnline() === true,
    retryNow: () => parts.transport?.retryNow(),
    async close() {
      await Promise.all([outbox.stop(), inbox.stop()])
      await disconnect(parts)
      await store.close()
    },
    abandon() {
      parts.transport?.destroy()
      for (const timer of parts.timers) clearInterval(timer)
      parts.keys.stop()
      void outbox.stop()
      void inbox.stop()
      store.abandon()
    },
    findUser: (handle) => findUser(context, handle, parts.transport?.isOnline() === true),
    learnHandle: (user) => learnHandle(context, user),
    handleOf: (user) => (user === account.user ? account.handle : handleOfUser(store, user)),
    send: (peer, text) => send(context, outbox, peer, text),
    messages: (peer, { limit = LIST_DEFAULT, before } = {}) => listMessages(store, peer, account.user, limit, before),
    conversations: () => listConversations(store, account.user),
    waiting: () => Number(store.peek('SELECT count(*) AS n FROM outbox WHERE state < 2')[0]?.['n'] ?? 0),
    markRead: (peer) => parts.readMarks.mark(peer),
    on: emitter.on,
  }
}
