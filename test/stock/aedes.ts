/**
 * aedes as its documentation starts it, with aedes-persistence-redis, in a process of its own. Two hooks, as an
 * application has them: a device may subscribe to its own inbox and the crowd's topic alone, and to decide about a
 * PUBLISH may take time. stock.ts starts it and speaks to it over IPC.
 */
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { Aedes } from 'aedes'
import { CROWD_TOPIC, inboxPrefix, type Order, type Setup } from './orders.ts'

const require = createRequire(import.meta.url)
const createPersistence = require('aedes-persistence-redis') as (options: object) => unknown
const createEmitter = require('mqemitter-redis') as (options: object) => unknown

const setup = JSON.parse(process.argv[2] ?? '{}') as Setup
const slow = new Map<string, number>()
const broker = await Aedes.createBroker({
  persistence: createPersistence({ path: setup.redis }),
  ...(setup.emitter === 'redis' ? { mq: createEmitter({ path: setup.redis }) } : {}),
  ...(setup.id === undefined ? {} : { id: setup.id }),
  authorizeSubscribe(client, subscription, done) {
    const { topic } = subscription
    done(null, topic.startsWith(inboxPrefix(client.id)) || topic === CROWD_TOPIC ? subscription : null)
  },
  authorizePublish(_client, packet, done) {
    const ms = slow.get(packet.topic)
    if (ms === undefined) done(null)
    else setTimeout(done, ms, null)
  },
})
const server = createServer({ noDelay: true }, (socket) => void broker.handle(socket))
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))

process.on('message', ({ topic, ms }: Order) => {
  slow.set(topic, ms)
  process.send?.({ topic })
})
process.on('disconnect', () => process.exit())
