/**
 * What aedes believes to be its persistence. Inbox subscriptions are one durable flag of the inbox port (B1);
 * retained operator topics are a map; nothing is queued for anybody, since the inbox is the queue.
 */
import { Readable } from 'node:stream'
import type { Client } from 'aedes'
import { isOperatorTopic, matches } from '../topics/topic.ts'

export interface SessionRules {
  isInboxFilter(filter: string): boolean
  /** Has the device of this client id subscribed before? Gives its filter. */
  restore(clientId: string): Promise<string | undefined>
  /** Sets or clears the durable flag when its own inbox is among the filters; no filters: all of them. */
  remember(clientId: string, filters: readonly string[] | undefined, subscribed: boolean): Promise<void>
}

interface Packet {
  topic: string
  payload: Buffer
  retain?: boolean
}

const nothing = async (): Promise<void> => undefined
/** Made for every CONNECT: `Readable.from` would bring an iterator and its promises along. */
function endAtOnce(this: Readable): void {
  this.push(null)
}
/** aedes pipes retained packets into a transform; inbox topics have none. */
const NO_RETAINED = { pipe: () => undefined }

/** Methods are those that aedes 1.2.0 calls; `setup` must be a native async function. */
export function createSessions(rules: SessionRules) {
  const retained = new Map<string, Packet>()

  const persistence = {
    async setup(): Promise<void> {
      retained.clear()
    },
    async storeRetained(packet: Packet) {
      if (packet.payload.length === 0) retained.delete(packet.topic)
      else retained.set(packet.topic, packet)
    },
    createRetainedStreamCombi(filters: string[]) {
      if (filters.every((filter) => rules.isInboxFilter(filter))) return NO_RETAINED
      const found = [...retained.values()].filter((packet) => filters.some((filter) => matches(filter, packet.topic)))
      return Readable.from(found)
    },
    // aedes hands over the whole list, denied filters included: only the inbox filter means anything here.
    addSubscriptions: (client: Client, subscriptions: { topic: string; qos: number }[]) =>
      rules.remember(
        client.id,
        subscriptions.filter(({ qos }) => qos > 0).map(({ topic }) => topic),
        true,
      ),
    removeSubscriptions: (client: Client, filters: string[]) => rules.remember(client.id, filters, false),
    async subscriptionsByClient(client: { id: string }) {
      const filter = await rules.restore(client.id)
      return filter === undefined ? [] : [{ topic: filter, qos: 1 }]
    },
    cleanSubscriptions: (client: Client) => rules.remember(client.id, undefined, false),
    subscriptionsByTopic: async () => [],
    outgoingEnqueue: nothing,
    outgoingEnqueueCombi: nothing,
    outgoingUpdate: nothing,
    outgoingClearMessageId: async () => undefined,
    outgoingStream: () => new Readable({ read: endAtOnce }),
    incomingStorePacket: nothing,
    incomingGetPacket: () => Promise.reject(new Error('QoS 2 is not taken')),
    incomingDelPacket: nothing,
    putWill: nothing,
    delWill: nothing,
    async *streamWill() {},
  }
  return { persistence, isOperatorTopic }
}
