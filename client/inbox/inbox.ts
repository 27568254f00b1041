/**
 * The inbox: deliveries in the order they came, up to INBOX_TURN_MAX in one turn, and their PUBACKs in one write after
 * its commit. A disk that is full holds everything: nothing is acknowledged, and the server keeps it.
 */
import { type Delivery, decodeDelivery } from '../../topics/codec.ts'
import type { Context } from '../context.ts'
import type { Outbox } from '../outbox/outbox.ts'
import type { Turn } from '../store/open.ts'
import type { Ack, Transport } from '../transport/transport.ts'
import { takeReceipts } from './receipts.ts'
import type { Receiver } from './receive.ts'
import { repair } from './repair.ts'
import { forgetIfRestored } from './restored.ts'
import type { Retries } from './retries.ts'

export interface Inbox {
  onDelivery(payload: Uint8Array, ack: Ack): void
  stop(): Promise<void>
}

export interface InboxHandlers {
  onCaughtUp(serverMs: number, isRestored: boolean): void
  onPrekeysLow(): void
  onDevicesChanged(user: Uint8Array): void
  onRevoked(): void
}

const INBOX_TURN_MAX = 64
const RETRY_MS = 1_000

interface Item {
  readonly delivery: Delivery
  readonly ack: Ack
}

interface State {
  readonly context: Context
  readonly transport: () => Transport
  readonly receiver: Receiver
  readonly retries: Retries
  readonly outbox: Outbox
  readonly handlers: InboxHandlers
  items: Item[]
  isStopped: boolean
  running: Promise<void> | undefined
}

function onNotice({ context, handlers }: State, turn: Turn, { notice }: Delivery): void {
  if (notice?.prekeysLow !== undefined) turn.after(handlers.onPrekeysLow)
  else if (notice?.revoked !== undefined) turn.after(handlers.onRevoked)
  else if (notice?.gap !== undefined) turn.after(() => context.emit('gap', { count: notice.gap ?? 0 }))
  else if (notice?.devicesChanged !== undefined) {
    const user = Uint8Array.from(notice.devicesChanged)
    turn.after(() => handlers.onDevicesChanged(user))
  }
}

function onError({ context, outbox }: State, turn: Turn, delivery: Delivery): void {
  const done = delivery.error && repair(context, delivery.error)
  if (done === undefined) return
  const { peer, user, holdMs, added, removed } = done
  turn.after(() => {
    if (holdMs > 0) outbox.hold(user, holdMs)
    if (added.length + removed.length > 0) context.emit('devicesChanged', { user, added, removed })
    context.emit('status', { peer })
    outbox.wake()
  })
}

async function workOff(state: State, turn: Turn, { delivery }: Item): Promise<void> {
  const { context, outbox, handlers, receiver, retries } = state
  switch (delivery.kind) {
    case 'receipts': {
      const peers = takeReceipts(context, delivery.receipts?.items ?? [])
      retries.answerEarly()
      turn.after(() => {
        outbox.wake()
        for (const peer of peers) context.emit('status', { peer })
      })
      return
    }
    case 'error':
      return onError(state, turn, delivery)
    case 'notice':
      return onNotice(state, turn, delivery)
    case 'caughtUp': {
      const serverMs = delivery.caughtUp?.serverMs ?? 0
      const isRestored = forgetIfRestored(context, turn, delivery.caughtUp?.lastStamp ?? 0)
      receiver.onCaughtUp(isRestored)
      turn.after(() => {
        outbox.onCaughtUp()
        handlers.onCaughtUp(serverMs, isRestored)
      })
      return
    }
    case 'whisper':
    case 'prekey':
    case 'plaintext':
      await receiver.receive(turn, delivery)
      turn.after(outbox.wake)
      return
    default:
      // Kinds of later versions: nothing here needs them.
      return
  }
}

async function work(state: State): Promise<void> {
  const { context, transport } = state
  while (state.items.length > 0 && !state.isStopped) {
    const batch = state.items.slice(0, INBOX_TURN_MAX)
    try {
      await context.store.turn(async (turn) => {
        for (const item of batch) await workOff(state, turn, item)
      })
    } catch (error) {
      if (state.isStopped) return
      const { code = 'refused', message } = error as Error & { code?: string }
      context.emit('fault', { code, text: message })
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      continue
    }
    state.items = state.items.slice(batch.length)
    transport().acknowledge(batch.map(({ ack }) => ack))
    // The loop turns between two turns: sockets, timers and the user have their say.
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** One at a time; what comes while it ends begins it anew. */
function start(state: State): void {
  if (state.running !== undefined || state.isStopped || state.items.length === 0) return
  state.running = new Promise<void>((resolve) => setImmediate(resolve))
    .then(() => work(state))
    .finally(() => {
      state.running = undefined
      start(state)
    })
}

export function createInbox(
  context: Context,
  transport: () => Transport,
  receiver: Receiver,
  retries: Retries,
  outbox: Outbox,
  handlers: InboxHandlers,
): Inbox {
  const state: State = {
    context,
    transport,
    receiver,
    retries,
    outbox,
    handlers,
    items: [],
    isStopped: false,
    running: undefined,
  }
  return {
    onDelivery(payload, ack) {
      const delivery = decodeDelivery(payload)
      if (delivery.fault) {
        context.emit('fault', { code: 'bad_answer', text: `The server sent what is no Delivery: ${delivery.text}` })
        return transport().acknowledge([ack])
      }
      if (delivery.error !== undefined) outbox.onRefusal(delivery.error.stamp)
      state.items.push({ delivery, ack })
      start(state)
    },
    async stop() {
      state.isStopped = true
      await state.running
    },
  }
}
