import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { type AddressInfo, createServer, connect as openSocket } from 'node:net'
import { join } from 'node:path'
import { humanLine } from '../../broker/log.ts'
import type { MadeDevice } from '../api/node.ts'
import { type Client, connectClient } from '../world/client.ts'
import { settings, startFile, startMain, temporaryFolder } from './main-process.ts'

const login = (port: number, { device, token }: MadeDevice) => ({
  port,
  clientId: device,
  username: device,
  password: token,
  clean: false,
  keepalive: 60,
})

describe('the process', () => {
  const { folder, clean } = temporaryFolder()
  let folders = 0
  after(clean)
  const fresh = (): string => {
    const path = join(folder, String(folders++))
    mkdirSync(path)
    return path
  }
  const run = (args: string[], env: Record<string, string> = {}) =>
    startFile('main.ts', args, { ...settings(fresh()), ...env }).ended

  describe('that is asked', () => {
    it('prints its help, and its settings without secrets', async () => {
      const help = await run(['--help'])
      assert.equal(help.code, 0)
      assert.match(help.output, /Usage: npm start/)
      const config = await run(['--config'], { WINDOW_ROWS: '7' })
      assert.equal(config.code, 0)
      assert.match(config.output, /^WINDOW_ROWS=7$/m)
      assert.match(config.output, /^ADMIN_TOKEN=\(hidden\)$/m)
      assert.doesNotMatch(config.output, /of-the-tests/)
    })

    const refused: [what: string, args: string[], env: Record<string, string>, says: RegExp][] = [
      [
        'an option that it does not have',
        ['--prot', '1'],
        {},
        /^Unknown option '--prot'; --help says what there is\.\n$/,
      ],
      ['a word', ['start'], {}, /--help says what there is\.\n$/],
      ['a setting that is none', [], { MQTT_PROT: '1' }, /^MQTT_PROT is not a setting/],
      ['a port that is none', [], { MQTT_PORT: 'x' }, /^MQTT_PORT is "x"; give a port/],
      ['a log level that is none', [], { LOG_LEVEL: 'loud' }, /^LOG_LEVEL is "loud"; say one of/],
      [
        'plain MQTT on all addresses',
        [],
        { MQTT_HOST: '0.0.0.0' },
        /^MQTT_HOST is 0\.0\.0\.0, where anybody can listen in/,
      ],
      ['plain HTTP on all addresses', [], { HTTP_HOST: '0.0.0.0' }, /^HTTP_HOST is 0\.0\.0\.0/],
      ['a certificate without its key', [], { TLS_CERT: 'x.pem' }, /^TLS_CERT and TLS_KEY go together/],
    ]
    for (const [what, args, env, says] of refused) {
      it(`refuses ${what} in a sentence, with exit code 2`, async () => {
        const { code, output } = await run(args, env)
        assert.equal(code, 2, output)
        assert.match(output, says)
        assert.equal(output.split('\n').length, 2, output)
      })
    }

    it('says which port is taken, with exit code 1', async () => {
      const holder = createServer()
      holder.listen(0, '127.0.0.1')
      await once(holder, 'listening')
      const port = String((holder.address() as AddressInfo).port)
      for (const name of ['MQTT_PORT', 'HTTP_PORT']) {
        const { code, output } = await run([], { [name]: port })
        assert.equal(code, 1, output)
        assert.match(output, new RegExp(`^Port ${port} of 127\\.0\\.0\\.1 is taken; stop what listens there`))
      }
      holder.close()
    })

    it('says which certificate cannot be read, with exit code 1', async () => {
      const { code, output } = await run([], { TLS_CERT: '/nowhere/cert.pem', TLS_KEY: '/nowhere/key.pem' })
      assert.equal(code, 1)
      assert.match(output, /\/nowhere\/cert\.pem/)
    })
  })

  it('listens on all addresses when it is told so in so many words', async () => {
    const main = await startMain(fresh(), { MQTT_HOST: '0.0.0.0', MQTT_ALLOW_PLAINTEXT_ON_NETWORK: 'yes' })
    main.signal('SIGTERM')
    const { code, output } = await main.ended
    assert.equal(code, 0)
    assert.match(output, /"MQTT +0\.0\.0\.0:\d+"/)
  })

  it('makes secrets that only their owner can read, and says where they are, not what they are', async () => {
    const path = fresh()
    const main = await startMain(path, { ADMIN_TOKEN: '', OBSERVER_PASSWORD: '' })
    main.signal('SIGTERM')
    const { output } = await main.ended
    for (const name of ['admin-token', 'observer-password']) {
      const file = join(path, name)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      const text = readFileSync(file, 'utf8').trim()
      assert.ok(text.length >= 32)
      assert.ok(output.includes(file) && !output.includes(text))
    }
  })

  it('logs one JSON object a line, and what to type next', async () => {
    const main = await startMain(fresh())
    main.signal('SIGTERM')
    const { output } = await main.ended
    const lines = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { level: string; msg: string; time: string })
    assert.ok(lines.every(({ level, time }) => level === 'info' && Date.parse(time) > 0))
    const said = lines.map(({ msg }) => msg).join('\n')
    for (const next of [
      /npm run demo/,
      /npm run provision -- /,
      /mosquitto_sub .*-t 'd\/s1\/from\/#'/,
      /mosquitto_pub .*-t d\/s2\/raw\/d-s1/,
    ]) {
      assert.match(said, next)
    }
    assert.match(said, /PUBACK +SQLite, .*fsync/)
  })

  it('has its folder to itself: a second one is refused, also of two that start at once', async () => {
    const path = fresh()
    const first = await startMain(path)
    const second = await startFile('main.ts', [], settings(path)).ended
    assert.equal(second.code, 2, second.output)
    assert.match(second.output, /^Another Heliograph uses the folder .*; stop it first, or set another DATA_DIR\.\n$/)
    first.signal('SIGKILL')
    assert.equal((await first.ended).signal, 'SIGKILL')
    // The lock of a process that was killed is nobody's.
    const started = await Promise.allSettled([startMain(path), startMain(path), startMain(path)])
    const won = started.filter((each) => each.status === 'fulfilled')
    assert.equal(won.length, 1, JSON.stringify(started))
    for (const each of started)
      if (each.status === 'rejected') assert.match(String(each.reason), /Another Heliograph uses/)
    won[0]?.value.signal('SIGTERM')
    assert.equal((await won[0]?.value.ended)?.code, 0)
  })

  it('drains on SIGTERM: what it stored has its PUBACK, and is there after the next start', async () => {
    const path = fresh()
    const main = await startMain(path)
    const [a, b] = (await main.make({ kind: 'thing', prefix: 'w', count: 2 })) as [MadeDevice, MadeDevice]
    const subscriber = await connectClient(login(main.mqttPort, b))
    await subscriber.subscribe('d/w2/from/#')
    await subscriber.disconnect()
    const will = { topic: 'd/w1/gone', payload: Buffer.from('died'), qos: 1 as const, retain: false }
    const sender = await connectClient({ ...login(main.mqttPort, a), will })
    const observer = await connectClient({
      ...login(main.mqttPort, b),
      clientId: 'explorer',
      username: 'observer',
      password: settings(path)['OBSERVER_PASSWORD'] as string,
      clean: true,
    })
    await observer.subscribe('#')
    const acks = (client: Client) => client.packets.filter(({ cmd }) => cmd === 'puback').length
    let posted = 0
    const stopPosting = keepPosting(sender, () => sender.post('d/w1/raw/d-w2', `message ${posted++}`))
    await sender.until((client) => acks(client) >= 300, '300 PUBACKs')
    main.signal('SIGTERM')
    const { code } = await main.ended
    stopPosting()
    assert.equal(code, 0)
    await sender.closed()
    await observer.closed()
    const acked = acks(sender)
    assert.ok(acked < posted, 'it was stopped in the middle')
    assert.deepEqual(
      observer.received.filter(({ topic }) => !topic.startsWith('ops/')),
      [],
    )
    const next = await startMain(path)
    const reader = await connectClient(login(next.mqttPort, b))
    const waiting = await reader.receive(acked)
    assert.deepEqual(
      waiting.map(({ payload }) => String(payload)),
      Array.from({ length: acked }, (_, i) => `message ${i}`),
    )
    // A PING behind the backlog: had more been stored than was acknowledged, it would be here.
    await reader.ping()
    assert.equal(reader.received.length, acked)
    reader.destroy()
    next.signal('SIGTERM')
    assert.equal((await next.ended).code, 0)
  })

  it('ends at once at the second SIGINT', async () => {
    const main = await startMain(fresh())
    // A peer that does not close keeps the drain waiting.
    const peer = openSocket({ port: main.mqttPort, host: '127.0.0.1', allowHalfOpen: true })
    await once(peer, 'connect')
    main.signal('SIGINT')
    await main.printed(/stopping: no new connections/)
    // Until it counts as a second one.
    const again = setInterval(() => main.signal('SIGINT'), 50)
    assert.equal((await main.ended).code, 130)
    clearInterval(again)
    peer.destroy()
  })

  it('goes on, and ends in order, although the reader of its log went away or stands still', async () => {
    for (const what of ['closed', 'stalled'] as const) {
      const main = await startMain(fresh())
      main.stopOutput(what)
      // A line of log each: more than a pipe holds.
      for (let i = 0; i < 700; i++) {
        const noise = openSocket({ port: main.mqttPort, host: '127.0.0.1' })
        noise.on('error', () => undefined)
        noise.write('no MQTT at all')
        await once(noise, 'close')
      }
      assert.equal((await fetch(`http://127.0.0.1:${main.httpPort}/livez`)).status, 200)
      main.signal('SIGTERM')
      assert.equal((await main.exited).code, 0)
    }
  })

  it('ends with exit code 70 and says so in one line when something is broken', async () => {
    const bug = 'process.on("SIGUSR2",()=>{throw(new(Error)("a-bug"))})'
    const main = await startMain(fresh(), { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(bug)}` })
    main.signal('SIGUSR2')
    const { code, output } = await main.ended
    assert.equal(code, 70)
    const last = JSON.parse(output.trim().split('\n').at(-1) ?? '') as Record<string, string>
    assert.deepEqual([last['level'], last['error']], ['fatal', 'a-bug'])
  })

  it('drains at one Ctrl-C, which npm hands on a second time', async () => {
    const main = await startMain(fresh())
    main.signal('SIGINT')
    main.signal('SIGINT')
    await main.printed(/stopping: no new connections/)
    main.signal('SIGINT')
    const { code, output } = await main.ended
    assert.equal(code, 0)
    assert.match(output, /"stopped"/)
  })
})

/** Posts 10 at every turn of the loop until it is told to stop or the connection ends. */
function keepPosting(client: Client, post: () => void): () => void {
  let isStopped = false
  const turn = (): void => {
    if (isStopped || client.isClosed || client.socket.writableEnded) return
    for (let i = 0; i < 10; i++) post()
    setImmediate(turn)
  }
  turn()
  return () => {
    isStopped = true
  }
}

describe('the log for people', () => {
  it('is one short line with the time, the level, the text and its facts', () => {
    const line = {
      level: 'warn',
      time: '2026-01-02T03:04:05.678Z',
      node: 'one',
      device: 's1',
      reason: 'takeover',
      msg: 'ended',
    }
    assert.equal(humanLine(JSON.stringify(line)), '03:04:05 warn  ended device=s1 reason=takeover\n')
  })
})
