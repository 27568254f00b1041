/** Dead letters from end to end: who sent one is told, the others go on, and an operator sends it again. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectionLimits, type Link, openLink } from '../../adapters/redis/connection.ts'
import { createDeadLetters } from '../../adapters/redis/dead-letters.ts'
import { errorOf } from '../../topics/errors.ts'
import { deliveries, errorsOf, inOf, messages, send } from '../data-plane/scene.ts'
import { envelope, target } from '../ports/envelopes.ts'
import { connect } from '../suites/broker.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { makeDeployment } from '../world/profile.ts'
import { bodyText, openScene, type Scene } from './redis-scene.ts'

describe('dead letters on Redis', () => {
  let scene: Scene
  let link: Link
  beforeEach(async () => {
    scene = await openScene()
    link = await openLink(
      scene.url,
      connectionLimits,
      async () => undefined,
      () => undefined,
    )
  })
  afterEach(async () => {
    link.close()
    await scene.close()
  })
  const letters = (of?: Parameters<typeof createDeadLetters>[2]) => createDeadLetters(link, scene.prefix, of)
  const numbered = (seq: number, text: string, shard = 0) => ({ ...envelope('b', text), seq, shard })

  it('give back the envelope as it was, by its shard and seq', async () => {
    const peer = new Uint8Array(16).fill(200)
    const to = target('b', { numbered: true, own: true, peer, receiptTo: '\u00ffkey' })
    const put = {
      ...envelope([to], 'text', { device: 's', stamp: 7, expiresMs: 9, deviceNumber: 3 }),
      seq: 2 ** 50,
      shard: 5,
    }
    await letters().put(put, 'why')
    const [listed] = await letters().list(9)
    const { acceptedMs: _, ...facts } = listed ?? { acceptedMs: 0 }
    assert.deepEqual(facts, { id: `5-${2 ** 50}`, shard: 5, device: 's', targets: ['b'], bytes: 73, reason: 'why' })
    const found = await letters().envelope(`5-${2 ** 50}`)
    assert.ok(found)
    assert.equal(bodyText(found), 'text')
    const [back] = found.targets
    assert.ok(back)
    assert.deepEqual(
      { ...back, topic: String(back.topic), peer: [...back.peer] },
      { ...to, topic: String(to.topic), peer: [...peer] },
    )
    const { shard, seq, device, stamp, expiresMs, deviceNumber } = found
    assert.deepEqual([shard, seq, device, stamp, expiresMs, deviceNumber], [5, 2 ** 50, 's', 7, 9, 3])
  })

  it('are there once however often they are put, newest first, until they are removed', async () => {
    for (const seq of [1, 2, 3]) await letters().put(numbered(seq, 'x'), 'why')
    await letters().put(numbered(2, 'x'), 'again')
    const ids = async () => (await letters().list(9)).map(({ id, reason }) => `${id} ${reason}`)
    assert.deepEqual(await ids(), ['0-3 why', '0-2 again', '0-1 why'])
    assert.deepEqual(
      (await letters().list(2)).map(({ id }) => id),
      ['0-3', '0-2'],
    )
    assert.equal(await letters().remove('0-2'), true)
    assert.equal(await letters().remove('0-2'), false)
    assert.equal(await letters().envelope('0-2'), undefined)
    assert.equal(await letters().count(), 2)
    for (const id of ['0-1', '0-3']) await letters().remove(id)
    assert.equal(await scene.redis.get(`${scene.prefix}{dead}:total`), '0')
  })

  it('are so many at most: the oldest go', async () => {
    const of = { deadLettersMax: 3, deadLetterBytesMax: 1_000_000 }
    for (const seq of [1, 2, 3, 4]) await letters(of).put(numbered(seq, 'x'), 'why')
    assert.deepEqual(
      (await letters().list(9)).map(({ id }) => id),
      ['0-4', '0-3', '0-2'],
    )
    assert.equal(await letters().envelope('0-1'), undefined)
  })

  it('have so many bytes at most: the oldest go, and the newest stays', async () => {
    const of = { deadLettersMax: 100, deadLetterBytesMax: 3_000 }
    for (const seq of [1, 2, 3]) await letters(of).put(numbered(seq, 'x'.repeat(1_200)), 'why')
    assert.deepEqual(
      (await letters().list(9)).map(({ id }) => id),
      ['0-3', '0-2'],
    )
    await letters(of).put(numbered(4, 'x'.repeat(9_000)), 'why')
    assert.deepEqual(
      (await letters().list(9)).map(({ id }) => id),
      ['0-4'],
    )
  })
})

describe('a message that cannot be applied', function () {
  this.timeout(60_000)
  let folder: string
  let broker: ServerProcess
  const clients: Client[] = []
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-dead-'))
    broker = await spawnServer(folder, await makeDeployment())
  })
  after(async () => {
    for (const client of clients) client.destroy()
    await broker.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  async function attend(device: TestDevice): Promise<Client> {
    const client = await connect({ port: broker.port }, device)
    clients.push(client)
    await client.subscribe(device.kind === 'person' ? inOf(device) : `d/${device.id}/from/#`)
    return client
  }

  it('of a person is told to its sender, held up by nobody else, and sent again by an operator', async () => {
    const [alice, bob, carol] = [
      await broker.devices.person('alice'),
      await broker.devices.person('bob'),
      await broker.devices.person('carol'),
    ]
    const [from, to, third] = [await attend(alice), await attend(bob), await attend(carol)]
    await broker.poison('bob')
    const stamp = await send(from, alice, [bob])
    const later: number[] = []
    for (let i = 0; i < 5; i++) later.push(await send(from, alice, [carol]))
    await from.until(() => errorsOf(from).length > 0, 'the error', 15_000)
    const { number } = errorOf('dead_letter')
    assert.deepEqual(
      errorsOf(from).map((error) => [error.stamp, error.code, error.retry]),
      [[stamp, number, 0]],
    )
    // A row, as a message is: who is away gets it later.
    assert.equal(deliveries(from).find(({ error }) => error !== undefined)?.packet.qos, 1)
    await third.until(() => messages(third).length === later.length, 'the others')
    const [letter, ...more] = await broker.deadLetters()
    assert.deepEqual(more, [])
    assert.ok(letter)
    assert.deepEqual([letter.device, letter.targets, letter.reason], ['alice', ['bob'], 'this row cannot be written'])

    await broker.poison('')
    assert.equal(await broker.replay(letter.id), true)
    assert.equal(await broker.replay(letter.id), false)
    const behind = await send(from, alice, [bob])
    assert.ok(behind > stamp)
    await to.until(() => messages(to).length === 2, 'both messages')
    const [first, second] = messages(to).map(({ seq }) => seq) as [number, number]
    assert.ok(first > Number(letter.id.split('-')[1]) && second > first)
    assert.deepEqual(await broker.deadLetters(), [])
    assert.equal(errorsOf(from).length, 1)
  })

  it('of a thing is a line under from/error, with its number', async () => {
    const thing = await broker.devices.thing('sensor', undefined, { numbered: false })
    const from = await attend(thing)
    await broker.poison('homesvc')
    await from.publish('d/sensor/raw/home/5', '21.5')
    await from.until(() => from.received.length > 0, 'the line', 15_000)
    const [line] = from.received
    assert.equal(line?.topic, 'd/sensor/from/error/dead_letter')
    assert.equal(line?.qos, 1)
    const { to, n, text } = JSON.parse(String(line?.payload)) as Record<string, string>
    assert.deepEqual([to, n, text], ['d-homesvc', '5', errorOf('dead_letter').about])
    await broker.poison('')
  })
})
