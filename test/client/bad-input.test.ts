/** What a program may give the SDK wrongly, and what the world does to it: clocks, networks, removed devices. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type ClientErrorCode, ClientFault } from '../../client/index.ts'
import { type People, type Person, saw, startPeople, texts, userOf } from './people.ts'

const hasCode =
  (code: ClientErrorCode, sentence = /./) =>
  (error: unknown) =>
    error instanceof ClientFault && error.code === code && sentence.test(error.message)
const NOBODY = '00000000-0000-4000-8000-000000000000'
const YEAR_MS = 365 * 86_400_000

describe('what the SDK is given', () => {
  let people: People
  let alice: Person
  let bob: Person
  before(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
  })
  after(() => people.stop())

  it('is a text of 16 KiB and not one byte more, counted as UTF-8', async () => {
    const { client } = alice
    const most = 'é'.repeat(8_192)
    await client.send(userOf(bob), most)
    await bob.until(() => bob.received.at(-1)?.text === most, 'the longest')
    for (const text of [`${most}x`, 'x'.repeat(16_385), '€'.repeat(5_462)]) {
      await assert.rejects(client.send(userOf(bob), text), hasCode('too_large', /16384/))
    }
    assert.equal(client.messages(userOf(bob)).length, 1)
  })

  it('is no empty text and no half of a character', async () => {
    const { client } = alice
    const before = texts(alice, userOf(bob)).length
    for (const text of ['', '\ud83d', 'a\udc4b', '\udc4b\ud83d']) {
      await assert.rejects(client.send(userOf(bob), text), hasCode('invalid'), JSON.stringify(text))
    }
    assert.equal(texts(alice, userOf(bob)).length, before)
    for (const text of ['\0', '👋🏽', ' ', '\u202e\u0007']) {
      await client.send(userOf(bob), text)
      await bob.until(() => bob.received.at(-1)?.text === text, JSON.stringify(text))
    }
  })

  it('is a peer that is a user id, else it says so before anything is kept', async () => {
    for (const peer of ['', 'bob', '@bob', `${userOf(bob)} `, userOf(bob).toUpperCase()]) {
      await assert.rejects(alice.client.send(peer, 'hello'), hasCode('unknown_peer', /findUser/), JSON.stringify(peer))
    }
    assert.equal(alice.client.waiting(), 0)
  })

  it('is a user that there is, else the message fails and the next ones to others do not', async () => {
    await alice.client.send(NOBODY, 'to nobody')
    await alice.until(() => alice.client.messages(NOBODY)[0]?.status === 'failed', 'the failure')
    assert.equal(alice.client.messages(NOBODY)[0]?.failure, 'unknown_peer')
    await alice.client.send(userOf(bob), 'to somebody')
    await bob.until(() => bob.received.at(-1)?.text === 'to somebody', 'the next one')
  })

  it('is a handle that somebody has', async () => {
    for (const [name, sentence] of [
      ['nobody.there', /Nobody is called @nobody.there/],
      ['', /is no handle/],
      ['Bob', /is no handle/],
      ['../v1/account', /is no handle/],
      ['b'.repeat(99), /is no handle/],
    ] as const) {
      await assert.rejects(alice.client.findUser(name), hasCode('unknown_peer', sentence), name)
    }
    assert.equal(await alice.client.findUser('@bob'), userOf(bob))
  })

  it('is nothing of an account, before there is one', async () => {
    const stranger = people.stranger()
    const { client } = stranger
    assert.equal(client.me(), undefined)
    assert.throws(() => client.connect(), hasCode('not_registered'))
    await assert.rejects(client.send(userOf(bob), 'hello'), hasCode('not_registered'))
    assert.equal(client.safetyNumber(userOf(bob)), undefined)
    await assert.rejects(
      alice.client.register({ phone: '+447700900999', code: '000000' }),
      hasCode('already_registered'),
    )
    await assert.rejects(alice.client.offerLink(), hasCode('already_registered'))
  })

  it('is a link of a new device, and not any other text', async () => {
    const { uri } = await people.stranger().client.offerLink()
    const [link = '', key = '', nonce = ''] = uri.slice('heliograph-link:'.length).split('/')
    for (const wrong of [
      '',
      'hello',
      'heliograph-link:',
      uri.slice(1),
      `heliograph-link:${link}/${key}`,
      `heliograph-link:${link}/${key}/${nonce}/more`,
      `heliograph-link:${link}/${key.slice(0, -4)}/${nonce}`,
      `heliograph-link:${link}/${key}/${nonce.slice(0, -4)}`,
      `heliograph-link:/${key}/${nonce}`,
      `heliograph-link:${link}/${Buffer.alloc(33).toString('base64url')}/${nonce}`,
    ]) {
      await assert.rejects(alice.client.acceptLink(wrong), hasCode('invalid'), wrong)
    }
    await alice.client.acceptLink(` ${uri}\n`)
  })

  it('is nothing any more after it was closed', async () => {
    const carol = await people.person('carol')
    await carol.client.close()
    await assert.rejects(carol.client.send(userOf(bob), 'late'), hasCode('closed'))
    await carol.client.close()
  })
})

describe('a device that was removed', () => {
  let people: People
  before(async () => {
    people = await startPeople()
  })
  after(() => people.stop())

  for (const isOnline of [true, false]) {
    it(`hears of it ${isOnline ? 'at once' : 'when it comes back'}, and does not try again by itself`, async () => {
      const alice = await people.person(isOnline ? 'alice' : 'anna')
      const second = people.stranger()
      const { uri, linked } = await second.client.offerLink()
      await alice.client.acceptLink(uri)
      const { device } = await linked
      second.client.connect()
      await second.until(() => saw(second, 'caughtUp'), 'caught up')
      if (!isOnline) await second.reopen()
      await alice.client.removeDevice(device)
      if (!isOnline) second.client.connect()
      const ends = () => second.events.filter(({ event }) => event === 'offline').map(({ value }) => value)
      const isOver = (end: unknown) => {
        const { reason, retryInMs } = end as { reason: string; retryInMs: number | undefined }
        return reason === 'unauthorized' && retryInMs === undefined
      }
      await second.until(() => ends().some(isOver), 'the end')
      assert.equal(second.client.isOnline(), false)
      assert.deepEqual(
        (await alice.client.devices()).map(({ isCurrent }) => isCurrent),
        [true],
      )
    })
  }
})

describe('a clock that is years off', () => {
  let people: People
  before(async () => {
    people = await startPeople()
  })
  after(() => people.stop())

  for (const [what, handle, offMs] of [
    ['behind', 'early', -9 * YEAR_MS],
    ['ahead', 'later', 9 * YEAR_MS],
  ] as const) {
    it(`${what} does not keep two people from talking, ticks included`, async () => {
      const off = await people.person(handle, { now: () => Date.now() + offMs })
      const good = await people.person(`${handle}.friend`)
      for (let i = 0; i < 3; i++) {
        await off.client.send(userOf(good), `${i}`)
        await good.until(() => good.received.length === i + 1, `${i} there`)
        await good.client.send(userOf(off), `${i} back`)
        await off.until(() => off.received.length === i + 1, `${i} back`)
      }
      const expected = ['0', '0 back', '1', '1 back', '2', '2 back']
      assert.deepEqual(texts(good, userOf(off)), expected)
      assert.deepEqual(texts(off, userOf(good)), expected)
      await off.client.markRead(userOf(good))
      await good.client.markRead(userOf(off))
      for (const [one, other] of [
        [good, off],
        [off, good],
      ] as const) {
        const own = () => one.client.messages(userOf(other)).filter(({ isOwn }) => isOwn)
        await one.until(() => own().every(({ status }) => status === 'read'), 'read')
      }
    })
  }

  it('and is set right goes on talking, in both directions of the correction', async () => {
    for (const [handle, offMs] of [
      ['from.past', -9 * YEAR_MS],
      ['from.future', 9 * YEAR_MS],
    ] as const) {
      let nowMs = () => Date.now() + offMs
      const off = await people.person(handle, { now: () => nowMs() })
      const good = await people.person(`${handle}.friend`)
      await off.client.send(userOf(good), 'wrong')
      await good.until(() => good.received.length === 1, 'the first')
      await off.reopen()
      nowMs = Date.now
      off.client.connect()
      await off.client.send(userOf(good), 'right')
      await good.until(() => good.received.length === 2, 'the second')
      await good.client.send(userOf(off), 'answer')
      await off.until(() => off.received.length === 1, 'the answer')
      assert.deepEqual(texts(good, userOf(off)), ['wrong', 'right', 'answer'])
    }
  })
})

interface Way {
  readonly url: string
  /** Where it leads. */
  readonly to: { port: number }
  /** Bytes that were taken and not carried on. */
  swallowedBytes(): number
  /** From now on, until it is cut: nothing gets to the server, or nothing back. */
  swallow(what: 'requests' | 'answers'): void
  cut(): Promise<void>
  mend(): Promise<void>
  end(): void
}

/** A way to the server that can be cut. */
async function startWay(): Promise<Way> {
  const sockets = new Set<Socket>()
  const to = { port: 0 }
  let swallows: 'requests' | 'answers' | undefined
  let swallowedBytes = 0
  const server = createServer((socket) => {
    const far = connect(to.port, '127.0.0.1')
    for (const [one, other, what] of [
      [socket, far, 'requests'],
      [far, socket, 'answers'],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
      one.on('data', (bytes) => {
        if (swallows === what) swallowedBytes += bytes.length
        else other.write(bytes)
      })
    }
  })
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    to,
    swallowedBytes: () => swallowedBytes,
    swallow(what) {
      swallows = what
      swallowedBytes = 0
    },
    async cut() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
      swallows = undefined
    },
    mend: () => listen(port),
    end: () => void server.close(),
  }
}

describe('a server that is gone for a while', () => {
  let way: Way
  let people: People
  let alice: Person
  let bob: Person
  beforeEach(async () => {
    way = await startWay()
    people = await startPeople({ PUBLIC_URL: way.url })
    way.to.port = Number(new URL(people.node.url).port)
    alice = await people.person('alice', { url: way.url })
    bob = await people.person('bob', { url: way.url })
    await alice.client.send(await alice.client.findUser('bob'), 'before')
    await bob.until(() => bob.received.length === 1, 'the first')
    await alice.until(() => alice.client.messages(userOf(bob))[0]?.status === 'delivered', 'its ticks')
  })
  afterEach(async () => {
    await people.stop()
    way.end()
  })

  async function mended(): Promise<void> {
    await way.mend()
    alice.client.retryNow()
    bob.client.retryNow()
  }
  async function arrived(expected: readonly string[]): Promise<void> {
    await bob.until(() => texts(bob, userOf(alice)).length >= 1 + expected.length, 'all of them')
    await alice.until(() => alice.client.messages(userOf(bob)).every(({ status }) => status === 'delivered'), 'ticks')
    assert.deepEqual(texts(bob, userOf(alice)), ['before', ...expected])
    assert.equal(bob.received.length, 1 + expected.length)
    assert.equal(alice.client.waiting(), 0)
  }

  it('gets what was queued meanwhile, in order and once, also after the program was started anew', async () => {
    await way.cut()
    await alice.until(() => !alice.client.isOnline() && !bob.client.isOnline(), 'both offline')
    const queued = Array.from({ length: 30 }, (_, i) => `meanwhile ${i}`)
    for (const text of queued) assert.equal((await alice.client.send(userOf(bob), text)).status, 'waiting')
    assert.equal(alice.client.waiting(), queued.length)
    await assert.rejects(alice.client.findUser('carol'), hasCode('unreachable'))
    assert.equal(await alice.client.findUser('bob'), userOf(bob))
    await alice.reopen()
    assert.equal(alice.client.waiting(), queued.length)
    alice.client.connect()
    await mended()
    await arrived(queued)
  })

  for (const lost of ['requests', 'answers'] as const) {
    it(`gets what was on its way when the ${lost} were lost, once`, async () => {
      way.swallow(lost)
      const sent = ['one', 'two', 'three']
      for (const text of sent) await alice.client.send(userOf(bob), text)
      await alice.until(() => way.swallowedBytes() > 0, 'something lost')
      await way.cut()
      await alice.until(() => !alice.client.isOnline() && !bob.client.isOnline(), 'both offline')
      assert.equal(alice.client.waiting(), sent.length)
      await mended()
      await arrived(sent)
    })
  }
})
