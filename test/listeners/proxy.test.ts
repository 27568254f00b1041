import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import mqtt, { type Packet } from 'mqtt-packet'
import WebSocket from 'ws'
import { timeouts } from '../../plugins/timeouts.ts'
import { limits } from '../../topics/limits.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { type Client, clientOn } from '../world/client.ts'
import { startWorld, type World } from '../world/world.ts'
import { type CertificateFiles, writeCertificate } from './certificate.ts'
import { temporaryFolder } from './main-process.ts'
import { header, local, padding, tcp4, tcp6 } from './proxy-header.ts'

const connectFrame = ({ id, token }: { id: string; token: string }): Buffer =>
  mqtt.generate({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clientId: id,
    username: id,
    password: Buffer.from(token),
    clean: true,
    keepalive: 60,
  } as Packet)

/** Sends the pieces with a turn of the network between them. */
async function send(port: number, ...pieces: readonly Uint8Array[]): Promise<Client> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  const client = clientOn(socket, true)
  await once(socket, 'connect')
  for (const [i, piece] of pieces.entries()) {
    if (i > 0) await delay(2)
    if (!client.isClosed) socket.write(piece)
  }
  return client
}

describe('behind a load balancer that says whose each connection is', () => {
  let world: World
  let device: { id: string; token: string }
  const rejected = (reason: string) => world.server.metrics.rejected[reason] ?? 0
  before(async () => {
    const env = { PROXY_PROTOCOL: 'yes', CONNECTIONS_PER_ADDRESS_MAX: '2', HANDSHAKES_MAX: '5', DISK_RESERVE_MIB: '1' }
    world = await startWorld({ env, overrides: { timeouts: { connectMs: 400 } } })
    device = await world.thing('p1')
  })
  after(() => world.stop())

  /** The address that the server takes it for: an intruder's end is logged with it. */
  async function seenAs(...pieces: readonly Uint8Array[]): Promise<unknown> {
    const from = world.logged.length
    const client = await send(world.server.mqttPort, ...pieces)
    await client.until((c) => c.connack !== undefined || c.isClosed, 'CONNACK or close')
    assert.equal(client.connack?.returnCode, 4, 'it got as far as its token')
    await client.closed()
    const found = world.logged.slice(from).find(({ facts }) => 'reason' in facts && facts.reason === 'bad_credentials')
    return (found?.facts as { address?: unknown } | undefined)?.address
  }
  const intruder = () => connectFrame({ id: 'p1', token: 'wrong' })

  const said: [what: string, head: Buffer, address: string][] = [
    ['an address of IPv4', tcp4('203.0.113.7'), '203.0.113.7'],
    ['an address of IPv6, in its one short form', tcp6('2001:db8:0:0:0:0:0:7'), '2001:db8::7'],
    ['an address of IPv4 inside IPv6', tcp6('0:0:0:0:0:ffff:cb00:7107'), '203.0.113.7'],
    ['an address with more behind it', tcp4('203.0.113.8', padding(200)), '203.0.113.8'],
    ['nothing: the balancer itself', local(), '127.0.0.1'],
    ['nothing, with something behind it', header(0x20, 0x11, padding(40)), '127.0.0.1'],
    ['that it does not know', header(0x21, 0x00, Buffer.alloc(0)), '127.0.0.1'],
    ['as much as may be', tcp4('203.0.113.9', padding(limits.proxyHeaderBytesMax - 28)), '203.0.113.9'],
  ]
  for (const [what, head, address] of said) {
    it(`a connection is from where the header says: ${what}`, async () => {
      assert.equal(await seenAs(head, intruder()), address)
      assert.equal(await seenAs(Buffer.concat([head, intruder()])), address)
    })
  }

  it('a header may come byte by byte, and the bytes behind it in the same piece', async () => {
    const head = tcp4('203.0.113.10')
    const pieces = [...head.subarray(0, -1)].map((byte) => Buffer.from([byte]))
    assert.equal(await seenAs(...pieces, Buffer.concat([head.subarray(-1), intruder()])), '203.0.113.10')
  })

  it('a device connects and talks', async () => {
    const client = await send(world.server.mqttPort, tcp4('203.0.113.11'), connectFrame(device))
    await client.until((c) => c.connack?.returnCode === 0, 'CONNACK')
    assert.deepEqual(await client.subscribe('d/p1/from/#'), [1])
    client.destroy()
  })

  const refused: [what: string, bytes: Buffer][] = [
    ['no header', intruder()],
    ['a header of version 1', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 50000 1883\r\n')],
    ['a signature with one wrong byte', Buffer.from(tcp4('203.0.113.7').fill(0x0b, 11, 12))],
    ['another version', header(0x31, 0x11, Buffer.alloc(12))],
    ['a command that there is not', header(0x22, 0x11, Buffer.alloc(12))],
    ['a family that is no TCP', header(0x21, 0x12, Buffer.alloc(12))],
    ['a socket of one machine', header(0x21, 0x31, Buffer.alloc(216))],
    ['an address that is cut off', header(0x21, 0x11, Buffer.alloc(11))],
    ['an address of IPv6 that is cut off', header(0x21, 0x21, Buffer.alloc(35))],
    ['one byte more than may be', tcp4('203.0.113.9', padding(limits.proxyHeaderBytesMax - 27)).subarray(0, 16)],
  ]
  for (const [what, bytes] of refused) {
    it(`is closed at once and counted: ${what}`, async () => {
      const before = rejected('bad_proxy_header')
      const client = await send(world.server.mqttPort, bytes)
      await client.closed()
      assert.equal(client.packets.length, 0)
      assert.equal(rejected('bad_proxy_header'), before + 1)
    })
  }

  it('a header that does not come whole in the time of a CONNECT is waited for no longer', async () => {
    const before = rejected('connect_timeout')
    const client = await send(world.server.mqttPort, tcp4('203.0.113.7').subarray(0, 20))
    await client.closed()
    assert.equal(rejected('connect_timeout'), before + 1)
  })

  it('who waits for a header has a place among the handshakes, one more has none, and places come back', async () => {
    const port = world.server.mqttPort
    const before = rejected('too_many_handshakes')
    const waiting = await Promise.all(Array.from({ length: 5 }, () => send(port, local().subarray(0, 3))))
    const late = await send(port)
    await late.closed()
    assert.equal(rejected('too_many_handshakes'), before + 1)
    for (const client of waiting) client.destroy()
    for (let tries = 0; ; tries++) {
      const client = await send(port, tcp4('203.0.113.12'), connectFrame(device))
      await client.until((c) => c.connack !== undefined || c.isClosed, 'CONNACK or close')
      client.destroy()
      if (client.connack?.returnCode === 0) break
      assert.ok(tries < 100, 'no place is free again')
    }
  })

  it('the connections of an address are counted for that address, not for the balancer', async () => {
    const port = world.server.mqttPort
    const [a, b, c, d] = await Promise.all(['c1', 'c2', 'c3', 'c4'].map((id) => world.thing(id)))
    const open = async (address: string, of: typeof a) => {
      const client = await send(port, tcp4(address), connectFrame(of as { id: string; token: string }))
      await client.until((each) => each.connack !== undefined || each.isClosed, 'CONNACK or close')
      return client
    }
    const clients = [await open('203.0.113.20', a), await open('203.0.113.20', b)]
    const before = rejected('too_many_of_address')
    assert.equal((await open('203.0.113.20', c)).isClosed, true)
    assert.equal(rejected('too_many_of_address'), before + 1)
    clients.push(await open('203.0.113.21', d))
    assert.ok(clients.every(({ connack }) => connack?.returnCode === 0))
    for (const client of clients) client.destroy()
  })
})

describe('TLS, HTTP and WebSocket behind such a balancer', () => {
  const { folder, clean } = temporaryFolder()
  let test: TestNode
  let files: CertificateFiles
  before(async () => {
    files = writeCertificate(folder, 'proxied')
    const env = {
      PROXY_PROTOCOL: 'yes',
      HTTP_PROXY_PROTOCOL: 'yes',
      HANDSHAKES_MAX: '3',
      LINKS_PER_ADDRESS_PER_HOUR_MAX: '1',
    }
    test = await startTestNode({ ...env, TLS_CERT: files.cert, TLS_KEY: files.key })
  })
  after(async () => {
    await test.stop()
    clean()
  })

  async function open(port: number, ...bytes: readonly Uint8Array[]): Promise<Socket> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    for (const each of bytes) socket.write(each)
    return socket
  }
  const addressOf = (reason: string): unknown =>
    (test.logged.findLast(({ facts }) => 'reason' in facts && facts.reason === reason)?.facts as { address?: string })
      ?.address

  it('the header stands in front of the TLS handshake', async () => {
    const raw = await open(test.node.server.mqttsPort as number, tcp4('203.0.113.30'))
    const socket = connectTls({ socket: raw, ca: readFileSync(files.cert), host: '127.0.0.1' })
    await once(socket, 'secureConnect')
    const client = clientOn(socket, true)
    client.sendBytes(connectFrame({ id: 'nobody', token: 'wrong' }))
    await client.closed()
    assert.equal(client.connack?.returnCode, 4)
    assert.equal(addressOf('bad_credentials'), '203.0.113.30')
  })

  it('header and ClientHello may come in one piece', async () => {
    const raw = await open(test.node.server.mqttsPort as number)
    const write = raw.write.bind(raw)
    let isFirst = true
    // What TLS writes first leaves behind the header, in one write.
    const joined = new Duplex({
      read: () => undefined,
      write(chunk: Buffer, _encoding, done) {
        const bytes = isFirst ? Buffer.concat([tcp4('203.0.113.31'), chunk]) : chunk
        isFirst = false
        write(bytes)
        done()
      },
    })
    raw.on('data', (chunk) => joined.push(chunk))
    raw.on('close', () => joined.destroy())
    const socket = connectTls({ socket: joined, ca: readFileSync(files.cert), host: '127.0.0.1' })
    await once(socket, 'secureConnect')
    const client = clientOn(socket, true)
    client.sendBytes(connectFrame({ id: 'nobody', token: 'wrong' }))
    await client.closed()
    assert.equal(addressOf('bad_credentials'), '203.0.113.31')
  })

  it('who fails at TLS gives its place back', async () => {
    const port = test.node.server.mqttsPort as number
    for (let i = 0; i < 10; i++) {
      const socket = await open(port, tcp4('203.0.113.32'), Buffer.from('no TLS at all\r\n\r\n'))
      socket.resume()
      await once(socket, 'close')
    }
    const stuck = await Promise.all([1, 2, 3].map(() => open(port, tcp4('203.0.113.33'))))
    const rejected = test.node.server.metrics.rejected
    const late = await open(port)
    late.resume()
    await once(late, 'close')
    assert.equal(rejected['too_many_handshakes'], 1)
    for (const socket of stuck) socket.destroy()
    for (const socket of stuck) if (!socket.closed) await once(socket, 'close')
  })

  const get = 'GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  const answerTo = async (...bytes: readonly Uint8Array[]): Promise<string> => {
    const socket = await open(test.node.httpPort, ...bytes)
    let text = ''
    socket.setEncoding('latin1').on('data', (more: string) => {
      text += more
    })
    await once(socket, 'close')
    return text
  }

  it('HTTP is answered behind a header, in pieces or in one, and not without', async () => {
    assert.match(await answerTo(tcp4('203.0.113.40'), Buffer.from(get)), /^HTTP\/1\.1 200 /)
    assert.match(await answerTo(Buffer.concat([local(), Buffer.from(get)])), /^HTTP\/1\.1 200 /)
    assert.equal(await answerTo(Buffer.from(get)), '')
  })

  it('a limit of HTTP counts for the address that the header says', async () => {
    const post = Buffer.from('POST /v1/links HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    assert.match(await answerTo(tcp4('203.0.113.41'), post), /^HTTP\/1\.1 201 /)
    assert.match(await answerTo(tcp4('203.0.113.41'), post), /^HTTP\/1\.1 429 /)
    assert.match(await answerTo(tcp4('203.0.113.42'), post), /^HTTP\/1\.1 201 /)
  })

  it('MQTT over WebSocket is from where the header says', async () => {
    const raw = await open(test.node.httpPort, tcp6('2001:db8:0:0:0:0:0:40'))
    const socket = new WebSocket(`ws://127.0.0.1:${test.node.httpPort}/v1/ws`, 'mqtt', {
      createConnection: () => raw,
    })
    await once(socket, 'open')
    socket.send(connectFrame({ id: 'nobody', token: 'wrong' }))
    await once(socket, 'close')
    assert.equal(addressOf('bad_credentials'), '2001:db8::40')
  })

  it('the time that a header has is that of a CONNECT', () => {
    assert.equal(test.node.server.door.headerMs, timeouts.connectMs)
    assert.equal(timeouts.connectMs, limits.connectTimeoutMs)
  })
})
