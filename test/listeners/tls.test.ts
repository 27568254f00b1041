import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect as openSocket } from 'node:net'
import { connect as openTls, type TLSSocket } from 'node:tls'
import mqtt from 'mqtt'
import { type MadeDevice, startTestNode, type TestNode } from '../api/node.ts'
import { clientOn } from '../world/client.ts'
import { type CertificateFiles, writeCertificate } from './certificate.ts'
import { type MainProcess, startMain, temporaryFolder } from './main-process.ts'

/** Fingerprint of the certificate that a new connection is shown; the certificate has to be the one that is trusted. */
async function shownTo(port: number, files: CertificateFiles): Promise<string> {
  const socket: TLSSocket = openTls({ port, host: '127.0.0.1', ca: readFileSync(files.cert) })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

describe('MQTT over TLS', () => {
  const { folder, clean } = temporaryFolder()
  let test: TestNode
  let files: CertificateFiles
  let device: MadeDevice
  before(async () => {
    files = writeCertificate(folder, 'first')
    test = await startTestNode({ TLS_CERT: files.cert, TLS_KEY: files.key })
    device = (await test.make({ kind: 'thing', ids: ['tls1'] }))[0] as MadeDevice
  })
  after(async () => {
    await test.stop()
    clean()
  })
  const port = () => test.node.server.mqttsPort as number

  it('carries what plain MQTT carries, for a client that checks the certificate', async () => {
    const [peer] = (await test.make({ kind: 'thing', ids: ['plain1'] })) as [MadeDevice]
    const plain = await test.connect(peer)
    await plain.subscribe('d/plain1/from/#')
    const client = await mqtt.connectAsync({
      protocol: 'mqtts',
      host: '127.0.0.1',
      port: port(),
      ca: readFileSync(files.cert),
      clientId: 'tls1',
      username: 'tls1',
      password: device.token,
      clean: false,
    })
    const got = new Promise<[string, Buffer]>((resolve) =>
      client.once('message', (...message) => resolve([message[0], message[1]])),
    )
    await client.subscribeAsync('d/tls1/from/#', { qos: 1 })
    await client.publishAsync('d/tls1/raw/d-plain1', 'x'.repeat(60_000), { qos: 1 })
    const [large] = await plain.receive(1)
    assert.equal(large?.payload.length, 60_000)
    await plain.publish('d/plain1/raw/d-tls1', 'back')
    const [topic, payload] = await got
    assert.deepEqual([topic, String(payload)], ['d/tls1/from/d-plain1/direct', 'back'])
    await client.endAsync()
  })

  it('ends what is not TLS, and a TLS that is too old', async () => {
    const plain = clientOn(openSocket({ port: port(), host: '127.0.0.1' }), true)
    plain.send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: 'tls1', clean: true, keepalive: 60 })
    await plain.closed()
    assert.equal(plain.connack, undefined)
    const old = openTls({
      port: port(),
      host: '127.0.0.1',
      ca: readFileSync(files.cert),
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
    })
    await assert.rejects(once(old, 'secureConnect'))
  })
})

describe('SIGHUP', () => {
  const { folder, clean } = temporaryFolder()
  let files: CertificateFiles
  let main: MainProcess
  before(async () => {
    files = writeCertificate(folder, 'first')
    main = await startMain(folder, { TLS_CERT: files.cert, TLS_KEY: files.key })
  })
  after(async () => {
    main.signal('SIGTERM')
    assert.equal((await main.ended).code, 0)
    clean()
  })

  it('shows the new certificate to new connections, and leaves the open ones alone', async () => {
    const first = await shownTo(main.mqttsPort, files)
    const [device] = (await main.make({ kind: 'thing', ids: ['stays'] })) as [MadeDevice]
    const open = openTls({ port: main.mqttsPort, host: '127.0.0.1', ca: readFileSync(files.cert) })
    await once(open, 'secureConnect')
    const client = clientOn(open, true)
    client.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId: 'stays',
      username: 'stays',
      password: Buffer.from(device.token),
      clean: true,
      keepalive: 60,
    })
    await client.until(({ connack }) => connack?.returnCode === 0, 'CONNACK')
    writeCertificate(folder, 'second')
    main.signal('SIGHUP')
    await main.printed(/certificates read again/)
    assert.notEqual(await shownTo(main.mqttsPort, files), first)
    await client.ping()
    client.destroy()
  })

  it('keeps the old certificate when the new files do not fit together', async () => {
    const before = await shownTo(main.mqttsPort, files)
    const trusted = { ...files, cert: `${files.cert}.kept` }
    writeFileSync(trusted.cert, readFileSync(files.cert))
    writeFileSync(files.cert, 'no certificate')
    main.signal('SIGHUP')
    await main.printed(/the new certificates are not usable; the old ones stay/)
    assert.equal(await shownTo(main.mqttsPort, trusted), before)
  })
})
