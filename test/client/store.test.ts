/** The client's store: turns, damage, a full disk, and what of a talk can be read on the disk. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { readAccount } from '../../client/crypto/account.ts'
import { type ClientErrorCode, ClientFault, openClient } from '../../client/index.ts'
import type { Cache } from '../../client/store/memory.ts'
import { openStore, type Store } from '../../client/store/open.ts'
import { type People, type Person, startPeople, texts, userOf } from './people.ts'

const hasCode =
  (code: ClientErrorCode, sentence = /./) =>
  (error: unknown) =>
    error instanceof ClientFault && error.code === code && sentence.test(error.message)

const unlockOf = ({ folder }: { folder: string }) => ({ keyFile: join(folder, 'key') })
const faultsOf = ({ events }: Person) =>
  events.filter(({ event }) => event === 'fault').map(({ value }) => value as { code: string; text: string })

/** Files below a folder. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => statSync(file).isFile())
}

describe('a turn', () => {
  let folder: string
  let store: Store
  const names = () => store.peek('SELECT name FROM meta ORDER BY name').map(({ name }) => name)
  const put = (name: string) => store.run('INSERT INTO meta (name, value) VALUES (?, ?)', name, Buffer.from('x'))
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-store-'))
    store = openStore(folder, { keyFile: join(folder, 'key') })
  })
  afterEach(async () => {
    await store.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /** A cache that says what is done to it. */
  function spy(said: string[]): Cache {
    const say = (word: string) => () => void said.push(word)
    return { flush: say('flush'), keep: say('keep'), restore: say('restore'), drop: say('drop') }
  }

  it('runs after those that were asked for before it, also when it has less to wait for', async () => {
    const order: string[] = []
    let release = () => {}
    const slow = store.turn(async (turn) => {
      order.push('first begins')
      turn.after(() => order.push('after first'))
      await new Promise<void>((resolve) => {
        release = resolve
      })
      order.push('first ends')
    })
    const quick = [1, 2, 3].map((i) => store.turn(() => void order.push(`quick ${i}`)))
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(order, ['first begins'])
    release()
    await Promise.all([slow, ...quick])
    assert.deepEqual(order, ['first begins', 'first ends', 'after first', 'quick 1', 'quick 2', 'quick 3'])
  })

  it('is shared by those that were asked for side by side, at most 64 of them, in their order', async () => {
    const said: string[] = []
    store.addCache(spy(said))
    const order: number[] = []
    const all = Array.from({ length: 65 }, (_, i) =>
      store.shared(() => {
        order.push(i)
        put(`shared ${String(i).padStart(2, '0')}`)
        return i
      }),
    )
    const expected = Array.from({ length: 65 }, (_, i) => i)
    assert.deepEqual(await Promise.all(all), expected)
    assert.deepEqual(order, expected)
    assert.deepEqual(said, ['flush', 'flush'])
    assert.equal(names().filter((name) => String(name).startsWith('shared')).length, 65)
  })

  it('that is shared leaves nothing of anybody when one throws, and the next one is made', async () => {
    const good = store.shared(() => put('beside'))
    const bad = store.shared(() => {
      throw new Error('on purpose')
    })
    const ended = await Promise.allSettled([good, bad])
    assert.deepEqual(
      ended.map(({ status }) => status),
      ['rejected', 'rejected'],
    )
    await store.shared(() => put('the next'))
    const left = names()
    assert.ok(left.includes('the next') && !left.includes('beside'))
  })

  it('that throws in the middle leaves nothing, drops the caches and does not stop the next one', async () => {
    const said: string[] = []
    store.addCache(spy(said))
    const failing = store.turn(async (turn) => {
      put('half')
      turn.after(() => said.push('after'))
      await Promise.resolve()
      throw new Error('in the middle')
    })
    const next = store.turn(() => void put('whole'))
    await assert.rejects(failing, /^Error: in the middle$/)
    await next
    assert.deepEqual(names(), ['vault', 'whole'])
    assert.deepEqual(said, ['drop', 'flush'])
  })

  it('remembers what it read and put, until that is forgotten or undone', async () => {
    let reads = 0
    const recall = () => store.memory.recall('place', () => ++reads)
    await store.turn(() => assert.deepEqual([recall(), recall()], [1, 1]))
    await store.turn(() => assert.equal(recall(), 1))
    await store.turn(() => store.memory.put('place', 7))
    await store.turn(() => assert.equal(recall(), 7))
    await store.turn(() => store.memory.forget('place'))
    await store.turn(() => assert.equal(recall(), 2))
    await assert.rejects(
      store.turn(() => {
        store.memory.put('place', 8)
        throw new Error('undone')
      }),
      /undone/,
    )
    await store.turn(async () => {
      assert.equal(recall(), 3)
      await assert.rejects(
        store.part(async () => {
          store.memory.put('place', 9)
          throw new Error('undone')
        }),
        /undone/,
      )
      assert.equal(recall(), 4)
      for (let i = 0; i < 10_000; i++) store.memory.put(`other ${i}`, i)
      assert.equal(recall(), 5)
      store.dropCaches()
      assert.equal(recall(), 6)
    })
  })

  it('is seen by others only after its commit', async () => {
    await store.turn(() => {
      put('inside')
      assert.deepEqual(names(), ['vault'])
      assert.ok(store.get('SELECT 1 FROM meta WHERE name = ?', 'inside'))
    })
    assert.deepEqual(names(), ['inside', 'vault'])
  })

  it('undoes a part alone', async () => {
    const said: string[] = []
    store.addCache(spy(said))
    await store.turn(async () => {
      put('before')
      await assert.rejects(
        store.part(async () => {
          put('part')
          throw new Error('not this')
        }),
        /not this/,
      )
      await store.part(async () => void put('other part'))
      put('behind')
    })
    assert.deepEqual(names(), ['before', 'behind', 'other part', 'vault'])
    assert.deepEqual(said, ['keep', 'restore', 'keep', 'flush'])
  })

  it('runs to its end when the store closes; later ones are refused', async () => {
    let release = () => {}
    const running = store.turn(async () => {
      put('last')
      await new Promise<void>((resolve) => {
        release = resolve
      })
    })
    await new Promise((resolve) => setImmediate(resolve))
    const closing = store.close()
    const late = store.turn(() => void put('late'))
    release()
    await Promise.all([running, closing, assert.rejects(late, hasCode('closed'))])
    store = openStore(folder, { keyFile: join(folder, 'key') })
    assert.deepEqual(names(), ['last', 'vault'])
  })

  it('that was under way when the client died is not there', async () => {
    const running = store.turn(async () => {
      put('half')
      await new Promise((resolve) => setImmediate(resolve))
      put('more')
    })
    const ended = assert.rejects(running)
    await Promise.resolve()
    await Promise.resolve()
    store.abandon()
    await ended
    store = openStore(folder, { keyFile: join(folder, 'key') })
    assert.deepEqual(names(), ['vault'])
  })
})

describe('a database that is not what it was', () => {
  let people: People
  let alice: Person
  let bob: Person
  before(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
    await alice.client.send(userOf(bob), 'first')
    await alice.client.send(userOf(bob), 'second')
    await bob.until(() => bob.received.length === 2, 'both')
    await alice.until(() => alice.client.waiting() === 0, 'nothing waiting')
  })
  after(() => people.stop())

  /** Changes a copy of alice's folder and opens a client on it. */
  async function changed<T>(change: (db: DatabaseSync) => void, use: (folder: string) => Promise<T> | T): Promise<T> {
    await alice.client.close()
    const folder = alice.copy()
    alice.restore(alice.copy())
    const db = new DatabaseSync(join(folder, 'client.db'))
    change(db)
    db.close()
    try {
      return await use(folder)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  const open = (folder: string) => openClient({ folder, unlock: unlockOf({ folder }), url: people.node.url })
  const flip = (sql: string) => (db: DatabaseSync) => {
    const row = db.prepare(sql).get() as { id: number; sealed: Uint8Array }
    const bytes = Buffer.from(row.sealed)
    bytes[20] = (bytes[20] as number) ^ 1
    const update = sql.replace(
      /^SELECT (\S+) AS id, (\S+) AS sealed FROM (\S+).*$/,
      'UPDATE $3 SET $2 = ? WHERE $1 = ?',
    )
    assert.equal(db.prepare(update).run(bytes, row.id).changes, 1)
  }

  it('with one changed byte in the account is corrupt, says where, and can be tried again', async () => {
    await changed(flip(`SELECT name AS id, value AS sealed FROM meta WHERE name = 'account'`), (folder) => {
      for (let i = 0; i < 2; i++) assert.throws(() => open(folder), hasCode('corrupt', /account/))
    })
  })

  it('with one changed byte in a message says which message', async () => {
    await changed(flip('SELECT row AS id, sealed AS sealed FROM messages WHERE shown = 1'), async (folder) => {
      const client = open(folder)
      assert.throws(() => client.messages(userOf(bob)), hasCode('corrupt', /message \d+/))
      await client.close()
    })
  })

  it('with two messages exchanged shows neither', async () => {
    const swap = (db: DatabaseSync) => {
      const [a, b] = db.prepare('SELECT row, sealed FROM messages WHERE shown = 1').all() as [object, object]
      const [one, two] = [a, b] as { row: number; sealed: Uint8Array }[] as [
        { row: number; sealed: Uint8Array },
        { row: number; sealed: Uint8Array },
      ]
      const update = db.prepare('UPDATE messages SET sealed = ? WHERE row = ?')
      update.run(one.sealed, two.row)
      update.run(two.sealed, one.row)
    }
    await changed(swap, async (folder) => {
      const client = open(folder)
      assert.throws(() => client.messages(userOf(bob)), hasCode('corrupt', /message/))
      await client.close()
    })
  })

  it('with one changed byte in a session says whose, and sends nothing', async () => {
    await alice.client.close()
    const db = new DatabaseSync(join(alice.folder, 'client.db'))
    const row = db.prepare('SELECT sealed FROM sessions WHERE user = ?').get(userOf(bob)) as { sealed: Uint8Array }
    const good = Buffer.from(row.sealed)
    const bad = Buffer.from(good)
    bad[40] = (bad[40] as number) ^ 1
    const put = db.prepare('UPDATE sessions SET sealed = ? WHERE user = ?')
    put.run(bad, userOf(bob))
    await alice.reopen()
    alice.client.connect()
    await alice.client.send(userOf(bob), 'through a damaged session')
    const isTold = () => faultsOf(alice).some(({ code, text }) => code === 'corrupt' && text.includes(userOf(bob)))
    await alice.until(isTold, 'a fault that says corrupt')
    assert.equal(alice.client.waiting(), 1)
    await alice.client.close()
    put.run(good, userOf(bob))
    db.close()
    await alice.reopen()
    alice.client.connect()
    await bob.until(() => texts(bob, userOf(alice)).includes('through a damaged session'), 'it, once it is mended')
  })

  it('that is no database is corrupt', async () => {
    const garbage = () => undefined
    await changed(garbage, async (folder) => {
      const { writeFileSync } = await import('node:fs')
      for (const name of readdirSync(folder)) if (name.startsWith('client.db-')) rmSync(join(folder, name))
      writeFileSync(join(folder, 'client.db'), Buffer.alloc(8_192, 'x'))
      for (let i = 0; i < 2; i++) assert.throws(() => open(folder), hasCode('corrupt'))
    })
  })

  it('of a newer version is left alone, and says so', async () => {
    const version = 99
    await changed(
      (db) => db.exec(`PRAGMA user_version = ${version}`),
      (folder) => {
        for (let i = 0; i < 2; i++) assert.throws(() => open(folder), hasCode('newer_database', /update/))
        const db = new DatabaseSync(join(folder, 'client.db'))
        assert.equal(db.prepare('PRAGMA user_version').get()?.['user_version'], version)
        db.close()
      },
    )
  })
})

describe('a client whose disk is full', () => {
  let people: People
  before(async () => {
    people = await startPeople()
  })
  after(() => people.stop())

  /** What SQLite says when it may not have one more page. */
  const FULL = { pragmas: 'PRAGMA max_page_count = 1' }
  const LONG = 'x'.repeat(12_000)

  it('acknowledges nothing that it could not keep, and gets all of it when there is room', async () => {
    const [alice, bob] = [await people.person('alice'), await people.person('bob')]
    await alice.client.send(userOf(bob), 'hello')
    await bob.until(() => bob.received.length === 1, 'the first')
    await bob.client.close()
    bob.settings = FULL
    await bob.reopen()
    bob.client.connect()
    const sent = Array.from({ length: 12 }, (_, i) => `${i} ${LONG}`)
    for (const text of sent) await alice.client.send(userOf(bob), text)
    await bob.until(() => faultsOf(bob).some(({ code }) => code === 'disk_full'), 'a fault that says disk_full')
    await alice.until(() => alice.client.waiting() === 0, 'nothing waiting')
    const kept = bob.client.messages(userOf(alice), { limit: 100 }).length
    assert.ok(kept < sent.length + 1, `${kept}`)
    // Ticks tell the truth: what bob could not keep was not delivered.
    const undelivered = alice.client.messages(userOf(bob), { limit: 100 }).filter(({ status }) => status === 'accepted')
    assert.ok(undelivered.length >= sent.length + 1 - kept)
    bob.settings = {}
    await bob.reopen()
    bob.client.connect()
    await bob.until(() => texts(bob, userOf(alice)).length === sent.length + 1, 'all of them')
    assert.deepEqual(texts(bob, userOf(alice)), ['hello', ...sent])
    await alice.client.send(userOf(bob), 'and the next one')
    await bob.until(() => texts(bob, userOf(alice)).at(-1) === 'and the next one', 'the next one')
    const isDelivered = () => alice.client.messages(userOf(bob)).every(({ status }) => status === 'delivered')
    await alice.until(isDelivered, 'every tick')
  }).timeout(40_000)

  it('refuses to send what it cannot keep, keeps the rest, and sends on when there is room', async () => {
    const [carol, dave] = [await people.person('carol'), await people.person('dave')]
    await carol.client.send(userOf(dave), 'hello')
    await dave.until(() => dave.received.length === 1, 'the first')
    await carol.client.close()
    carol.settings = FULL
    await carol.reopen()
    const kept = ['hello']
    let refusals = 0
    for (let i = 0; i < 12; i++) {
      const text = `${i} ${LONG}`
      try {
        await carol.client.send(userOf(dave), text)
        kept.push(text)
      } catch (error) {
        assert.ok(hasCode('disk_full', /free some space/)(error), String(error))
        refusals++
      }
    }
    assert.ok(refusals > 0)
    assert.deepEqual(texts(carol, userOf(dave)), kept)
    carol.settings = {}
    await carol.reopen()
    carol.client.connect()
    await carol.client.send(userOf(dave), 'there is room')
    await dave.until(() => texts(dave, userOf(carol)).at(-1) === 'there is room', 'the last')
    assert.deepEqual(texts(dave, userOf(carol)), [...kept, 'there is room'])
  }).timeout(40_000)
})

describe('what was said', () => {
  const CANARY = 'canary-8f1c07d2-Grüße'
  let people: People
  before(async () => {
    people = await startPeople()
  })
  after(() => people.stop())

  it('is in no file of a client, in no file of the server and not in its log, and neither is a private key', async () => {
    const [alice, bob] = [await people.person('alice'), await people.person('bob')]
    for (let i = 0; i < 20; i++) await alice.client.send(userOf(bob), `${CANARY} ${i}`)
    await bob.until(() => bob.received.length === 20, 'all')
    await bob.client.send(userOf(alice), CANARY)
    await alice.until(() => alice.received.length === 1, 'the answer')
    await alice.until(() => alice.client.waiting() === 0, 'nothing waiting')
    // One stays in the outbox.
    await alice.reopen()
    await alice.client.send(userOf(bob), CANARY)

    const needles = [Buffer.from(CANARY), Buffer.from(CANARY, 'utf16le'), Buffer.from('canary-8f1c07d2')]
    const look = (files: readonly string[]) => {
      for (const file of files) {
        const bytes = readFileSync(file)
        for (const needle of needles) assert.equal(bytes.indexOf(needle), -1, `${needle.toString('hex')} in ${file}`)
      }
    }
    const names = filesIn(alice.folder)
    for (const name of ['client.db', 'client.db-wal', 'client.db-shm']) {
      assert.ok(names.includes(join(alice.folder, name)), `${name} is not there`)
    }
    look([...names, ...filesIn(bob.folder)])
    // The token and both forms of the private key, as the disk would have them.
    await alice.client.close()
    const store = openStore(alice.folder, unlockOf(alice))
    const account = readAccount(store)
    await store.close()
    assert.ok(account !== undefined)
    const secret = Buffer.from(account.identity.privateKey.serialize())
    assert.equal(secret.length, 32)
    needles.push(secret, Buffer.from(secret.toString('base64')), Buffer.from(account.token), Buffer.from(account.phone))
    alice.client = openClient({ folder: alice.folder, unlock: unlockOf(alice), url: people.node.url })
    look([...filesIn(alice.folder), ...filesIn(bob.folder)])

    // The server knows the number by the text message that its console keeps in place of a phone.
    needles.pop()
    const onServer = filesIn(people.node.folder)
    assert.ok(onServer.length > 2)
    look(onServer)
    const log = JSON.stringify(people.node.logged)
    for (const needle of needles) assert.ok(!log.includes(needle.toString()), 'the log has it')
    // What is looked for would be found: bob's inbox was written to the same files.
    assert.ok(onServer.some((file) => readFileSync(file).includes(Buffer.from('alice'))))
  }).timeout(30_000)
})
