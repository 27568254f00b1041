/**
 * The SDK's client: one account on one device. Everything durable is in its folder; everything that leaves is
 * encrypted. `openClient` gives it; what it can do is in `Client`.
 */
import { uuidText } from '../topics/ids.ts'
import { type Account, writeAccount } from './account.ts'
import { createApi } from './api.ts'
import type { Core } from './core.ts'
import { createCipher } from './crypto/cipher.ts'
import { matches, safetyNumber } from './crypto/safety-number.ts'
import { handleOfUser } from './device-lists.ts'
import { createEmitter, type Emitter } from './events.ts'
import { ClientFault } from './faults.ts'
import { createInbox, type Inbox } from './inbox.ts'
import { keepKeys, renewKeys } from './key-upkeep.ts'
import { firstFreeRow, listConversations, listMessages } from './message-rows.ts'
import { createOutbox, type Outbox } from './outbox.ts'
import { pruneOutbox } from './outbox-rows.ts'
import { createOwnContents } from './own-contents.ts'
import { createOwnDevices, type OwnDevices } from './own-devices.ts'
import type { Client, ClientSettings, Me } from './public.ts'
import { createReadMarks, type ReadMarks } from './read-marks.ts'
import { createReceiver } from './receive.ts'
import { blankAccount, createEnrolment, type Enrolment } from './register.ts'
import { createRetries, type Retries } from './retries.ts'
import { openStore, type Store } from './store/open.ts'
import { findUser, learnHandle, send } from './talk.ts'
import { createTransport, type Transport } from './transport.ts'

const LIST_DEFAULT = 50
const UPKEEP_EVERY_MS = 3_600_000
const ASK_DUE_EVERY_MS = 30_000

interface Parts {
  readonly core: Core
  readonly store: Store
  readonly account: Account
  readonly emitter: Emitter
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly retries: Retries
  readonly readMarks: ReadMarks
  readonly enrolment: Enrolment
  readonly ownDevices: OwnDevices
  transport: Transport | undefined
  timers: NodeJS.Timeout[]
}

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
  const account = blankAccount(store, settings.url)
  const emitter = createEmitter()
  const api = createApi(account.url, () => account.token || undefined)
  let row = firstFreeRow(store)
  const cipher = createCipher(store, account, now)
  const core: Core = { store, account, cipher, api, emit: emitter.emit, now, nextRow: () => row++ }
  const transport = () => parts.transport ?? (OFFLINE as Transport)
  const outbox = createOutbox(core, transport)
  const retries = createRetries(core)
  const readMarks = createReadMarks(core, transport)
  const ownDevices = createOwnDevices(core)
  const receiver = createReceiver(core, retries, createOwnContents(core))
  const inbox = createInbox(core, transport, receiver, retries, outbox, {
    onCaughtUp: (_serverMs, isRestored) => onCaughtUp(parts, isRestored),
    onPrekeysLow: () => background(parts, () => keepKeys(core)),
    onDevicesChanged(user) {
      if (uuidText(user) === account.user) background(parts, () => ownDevices.refresh().then(outbox.wake))
    },
    onRevoked: () => emitter.emit('revoked', {}),
  })
  const enrolment = createEnrolment(store, account, api, now)
  const parts: Parts = {
    core,
    store,
    account,
    emitter,
    outbox,
    inbox,
    retries,
    readMarks,
    enrolment,
    ownDevices,
    transport: undefined,
    timers: [],
  }
  return parts
}

function onCaughtUp(parts: Parts, isRestored: boolean): void {
  const { core, store, retries, outbox, emitter, ownDevices, readMarks } = parts
  emitter.emit('caughtUp', {})
  background(parts, async () => {
    readMarks.tell()
    await store.turn(() => {
      retries.askDue()
      pruneOutbox(core)
    })
    outbox.wake()
    await ownDevices.refresh()
    outbox.wake()
    if (isRestored) await renewKeys(core)
    await keepKeys(core)
  })
}

function connect(parts: Parts): void {
  const { account, outbox, inbox, emitter, retries, readMarks, store } = parts
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
  timer(UPKEEP_EVERY_MS, () => keepKeys(parts.core))
  timer(ASK_DUE_EVERY_MS, () => store.turn(() => retries.askDue()).then(outbox.wake))
  transport.start()
}

async function disconnect(parts: Parts): Promise<void> {
  for (const timer of parts.timers) clearInterval(timer)
  parts.timers = []
  const { transport } = parts
  parts.transport = undefined
  parts.outbox.onOffline()
  await transport?.stop()
}

function meOf({ user, handle, device, number, isPrimary }: Account): Me | undefined {
  return user === '' ? undefined : { user, handle, device, number, isPrimary }
}

function identityCalls(parts: Parts) {
  const { store, account, core, outbox } = parts
  const keyOf = (peer: string) => store.peek('SELECT key, verified FROM identities WHERE user = ?', peer)[0]
  return {
    safetyNumber(peer) {
      const known = keyOf(peer)
      if (known === undefined || account.user === '') return undefined
      return { ...safetyNumber(account, peer, known['key'] as Uint8Array), isVerified: known['verified'] === 1 }
    },
    compareSafetyNumber(peer, scanned) {
      const known = keyOf(peer)
      return known !== undefined && matches(account, peer, known['key'] as Uint8Array, scanned)
    },
    setVerified: (peer, isVerified) => store.turn(() => core.cipher.identities.setVerified(peer, isVerified)),
    async approveIdentity(user) {
      await store.turn(() => core.cipher.identities.approve(user))
      outbox.release(user)
    },
  } satisfies Partial<Client>
}

function accountCalls(parts: Parts) {
  const { store, account, core, enrolment, ownDevices } = parts
  const me = () => meOf(account) as Me
  return {
    me: () => meOf(account),
    askCode: (phone) => core.api.askCode(phone),
    async register({ phone, code, handle }) {
      if (account.user !== '') throw new ClientFault('already_registered')
      await enrolment.enrol({ phone, code, ...(handle === undefined ? {} : { handle }) }, true)
      return me()
    },
    async offerLink() {
      const offer = await ownDevices.offer()
      return { uri: offer.uri, linked: ownDevices.join(offer, enrolment).then(me) }
    },
    acceptLink: (uri) => ownDevices.accept(uri),
    devices: () => core.api.devices(),
    async removeDevice(device) {
      await core.api.endDevice(device)
      await ownDevices.refresh()
    },
    async resetIdentity() {
      const wasConnected = parts.transport !== undefined
      await disconnect(parts)
      await enrolment.reset()
      await store.turn(() => writeAccount(store, account))
      if (wasConnected) connect(parts)
      return me()
    },
  } satisfies Partial<Client>
}

/**
 * Opens the client in `settings.folder`, which is made when it is not there. Throws a ClientFault: `locked`,
 * `wrong_passphrase`, `corrupt`, `newer_database`.
 */
export function openClient(settings: ClientSettings): Client {
  const parts = openParts(settings)
  const { core, store, account, outbox, inbox, emitter } = parts
  return {
    ...accountCalls(parts),
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
      void outbox.stop()
      void inbox.stop()
      store.abandon()
    },
    findUser: (handle) => findUser(core, handle),
    learnHandle: (user) => learnHandle(core, user),
    handleOf: (user) => (user === account.user ? account.handle : handleOfUser(store, user)),
    send: (peer, text) => send(core, outbox, peer, text),
    messages: (peer, { limit = LIST_DEFAULT, before } = {}) => listMessages(store, peer, account.user, limit, before),
    conversations: () => listConversations(store, account.user),
    waiting: () => Number(store.peek('SELECT count(*) AS n FROM outbox WHERE state < 2')[0]?.['n'] ?? 0),
    markRead: (peer) => parts.readMarks.mark(peer),
    on: emitter.on,
  }
}
