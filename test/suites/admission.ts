/** Who may come in, and with how much. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { clientOn } from '../world/client.ts'
import { connect, type Pledge } from './broker.ts'

/** A remaining length of 300 KiB, behind the first byte of CONNECT. */
const HUGE_BYTES = 300 * 1024
const HUGE_HEAD = Buffer.from([0x10, 0x80, 0xe0, 0x12])
const DECIDE_MS = 700

export const frameCap: Pledge = {
  says: 'a packet of 300 KiB before CONNECT is refused when its length is known',
  async keep(broker) {
    const socket = connectSocket({ port: broker.port, host: '127.0.0.1' })
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    const closed = once(socket, 'close').then(() => true)
    const closedSoon = () => Promise.race([closed, delay(DECIDE_MS, false)])
    // Nothing is to be read here, but a socket that is not read does not see the end either.
    socket.resume()
    socket.write(HUGE_HEAD)
    if (await closedSoon()) return
    socket.write(Buffer.alloc(HUGE_BYTES - 1))
    const isOpen = !(await closedSoon())
    socket.destroy()
    assert.fail(isOpen ? 'it took 300 KiB from a stranger and waited for more' : 'it was refused only once it had come')
  },
}

/** MQTT 3.1.1, flags 0 (so clean=false), keepalive 60 s, an empty client id. Clients refuse to write it. */
const NAMELESS = Buffer.from('100c00044d5154540400003c0000', 'hex')

export const emptyId: Pledge = {
  says: 'an empty client id with clean=false is refused with CONNACK 2',
  async keep(broker) {
    const socket = connectSocket({ port: broker.port, host: '127.0.0.1' })
    const client = clientOn(socket, true)
    client.sendBytes(NAMELESS)
    await client.until((c) => c.connack !== undefined || c.isClosed, 'CONNACK or close')
    assert.equal(client.connack?.returnCode, 2, `CONNACK ${client.connack?.returnCode}`)
    await client.closed()
  },
}

export const severalFilters: Pledge = {
  says: 'a SUBSCRIBE of several filters is answered',
  async keep(broker) {
    const device = await broker.device('b')
    const client = await connect(broker, device)
    const own = broker.filters(device)[0] as string
    // The second lies within the first: some grant it, some refuse it, and either is an answer.
    const answer = client.subscribe(own, own.replace('#', 'error/#')).then(
      (granted) => granted.length,
      () => 0,
    )
    assert.equal(await answer, 2, 'no SUBACK within 5 s')
  },
}
