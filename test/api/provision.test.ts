import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ID_BYTES, newUserId } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import { assertProblem, type MadeDevice, startTestNode, type TestNode } from './node.ts'

const DEVICES = '/v1/admin/devices'
const PERSON = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const THING = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const ids = (devices: readonly MadeDevice[]): string[] => devices.map(({ device }) => device)

describe('provisioning', () => {
  let test: TestNode
  before(async () => {
    test = await startTestNode()
  })
  after(() => test.stop())

  const exists = async (id: string): Promise<boolean> => (await test.ask(`${DEVICES}/${id}`)).status === 200

  it('makes things that connect with the token they were told, each a user of its own', async () => {
    const made = await test.make({ kind: 'thing', prefix: 'ma', count: 3 })
    assert.deepEqual(ids(made), ['ma1', 'ma2', 'ma3'])
    assert.equal(new Set(made.map(({ user }) => user)).size, 3)
    for (const device of made) {
      assert.match(device.user, THING)
      assert.match(device.token, /^[A-Za-z0-9_-]{43}$/)
      assert.equal((await test.connect(device)).connack?.returnCode, 0)
    }
    const [first, second] = made as [MadeDevice, MadeDevice]
    assert.equal((await test.connect({ ...first, token: second.token })).connack?.returnCode, 4)
  })

  it('keeps no token in the folder', async () => {
    const [made] = (await test.make({ kind: 'thing', prefix: 'secret' })) as [MadeDevice]
    const files = readdirSync(test.folder).filter((name) => name !== 'reserve')
    assert.ok(files.includes('heliograph.db'))
    const all = files.map((name) => readFileSync(join(test.folder, name)))
    assert.ok(
      all.some((bytes) => bytes.includes(made.device)),
      'the device is in the database',
    )
    for (const bytes of all) assert.ok(!bytes.includes(made.token))
  })

  it('goes on counting where the prefix ended, also past ids of revoked devices', async () => {
    assert.deepEqual(ids(await test.make({ kind: 'thing', prefix: 'go', count: 5 })), [
      'go1',
      'go2',
      'go3',
      'go4',
      'go5',
    ])
    assert.deepEqual(ids(await test.make({ kind: 'thing', prefix: 'go', count: 2 })), ['go6', 'go7'])
    for (const id of ['go1', 'go7']) assert.equal((await test.ask(`${DEVICES}/${id}/revoke`, {})).status, 204)
    const more = ids(await test.make({ kind: 'thing', prefix: 'go', count: 3 }))
    assert.equal(new Set([...more, 'go1', 'go2', 'go3', 'go4', 'go5', 'go6', 'go7']).size, 10)
  })

  it('makes as many as one call may, and not one more', async () => {
    const max = limits.provisionPerRequestMax
    assert.equal((await test.make({ kind: 'thing', prefix: 'bulk', count: max })).length, max)
    assertProblem(await test.ask(DEVICES, { kind: 'thing', prefix: 'bulk', count: max + 1 }), 400, 'malformed')
    const own = Array.from({ length: max + 1 }, (_, i) => `own${i}`)
    assertProblem(await test.ask(DEVICES, { kind: 'thing', ids: own }), 400, 'malformed')
    assert.equal((await test.make({ kind: 'thing', ids: own.slice(1) })).length, max)
    assert.equal(await exists('own0'), false)
  })

  it('makes all of the ids given or none, and names the one that is taken', async () => {
    await test.make({ kind: 'thing', ids: ['serial7'] })
    const detail = assertProblem(
      await test.ask(DEVICES, { kind: 'thing', ids: ['serial6', 'serial7', 'serial8'] }),
      409,
      'conflict',
    )
    assert.match(detail, /serial7/)
    for (const id of ['serial6', 'serial8']) assert.equal(await exists(id), false)
  })

  it('never gives the id of a revoked device again', async () => {
    await test.make({ kind: 'thing', ids: ['gone'] })
    await test.ask(`${DEVICES}/gone/revoke`, {})
    assert.match(assertProblem(await test.ask(DEVICES, { kind: 'thing', ids: ['gone'] }), 409, 'conflict'), /revoked/)
  })

  it('makes the owner when it is missing, once, however many ask at the same time', async () => {
    const asked = [1, 2, 3, 4].map((i) => test.make({ kind: 'thing', prefix: `o${i}x`, owner: 'orchard' }))
    for (const [device] of (await Promise.all(asked)) as [MadeDevice][]) {
      assert.equal((await test.ask(`${DEVICES}/${device.device}`)).body['owner'], 'orchard')
    }
    const [service] = await test.make({ kind: 'service', ids: ['orchardsvc'], owner: 'orchard' })
    assert.equal((await test.ask(`${DEVICES}/${service?.device}`)).body['handle'], 'orchard')
  })

  it('gives things to a person only when it is asked to: nobody gets them who took the name before', async () => {
    const other = await startTestNode()
    const { directory } = other.node.server.opened.ports
    const user = newUserId('person', randomBytes(ID_BYTES))
    await directory.create([{ user, kind: 'person', handle: 'fleet', owner: undefined }], [])
    assert.match(assertProblem(await other.ask(DEVICES, { kind: 'thing' }), 409, 'conflict'), /owner/)
    const [thing] = await other.make({ kind: 'thing', owner: 'fleet' })
    assert.equal((await other.ask(`${DEVICES}/${thing?.device}`)).body['owner'], 'fleet')
    await other.stop()
  })

  it('gives everyone different ids when many ask for the same prefix at once', async () => {
    const asked = Array.from({ length: 8 }, () => test.make({ kind: 'thing', prefix: 'same', count: 10 }))
    const made = (await Promise.all(asked)).flat()
    assert.equal(new Set(ids(made)).size, 80)
  })

  it('makes service devices on one account with the next numbers, at most 127', async () => {
    const first = await test.make({ kind: 'service', prefix: 'dock', owner: 'docks', count: 2 })
    const second = await test.make({ kind: 'service', prefix: 'dock', owner: 'docks' })
    assert.deepEqual(
      [...first, ...second].map(({ number }) => number),
      [1, 2, 3],
    )
    assert.equal(new Set([...first, ...second].map(({ user }) => user)).size, 1)
    assertProblem(
      await test.ask(DEVICES, { kind: 'service', prefix: 'dock', owner: 'docks', count: 125 }),
      413,
      'too_large',
    )
    const rest = await test.make({ kind: 'service', prefix: 'dock', owner: 'docks', count: 124 })
    assert.equal(rest.at(-1)?.number, limits.devicesPerUserMax)
  })

  it('lets a thing reach its owner as home', async () => {
    const [thing] = (await test.make({ kind: 'thing', ids: ['sensor'], owner: 'plant' })) as [MadeDevice]
    const [service] = (await test.make({ kind: 'service', ids: ['plantsvc'], owner: 'plant' })) as [MadeDevice]
    const home = await test.connect(service)
    await home.subscribe('d/plantsvc/from/#')
    await (await test.connect(thing)).publish('d/sensor/raw/home', '21.5')
    const [got] = await home.receive(1)
    assert.deepEqual([got?.topic, String(got?.payload)], ['d/plantsvc/from/d-sensor/direct', '21.5'])
  })

  it('makes persons with a registration id of 1 to 16380, or the one that was asked for', async () => {
    const made = await test.make({ kind: 'person', prefix: 'ann', count: 50 })
    for (const { user, number, registrationId } of made) {
      assert.match(user, PERSON)
      assert.equal(number, 1)
      assert.ok(Number.isInteger(registrationId) && registrationId >= 1 && registrationId <= 16_380)
    }
    assert.ok(new Set(made.map(({ registrationId }) => registrationId)).size > 25)
    const [asked] = await test.make({ kind: 'person', ids: ['bob1'], registrationId: 4_711 })
    assert.equal(asked?.registrationId, 4_711)
  })

  it('adds devices to a person with numbers that were never used', async () => {
    const [one] = (await test.make({ kind: 'person', ids: ['cem1'] })) as [MadeDevice]
    const [two] = (await test.make({ kind: 'person', ids: ['cem2'], user: one.user })) as [MadeDevice]
    assert.deepEqual([two.user, two.number], [one.user, 2])
    assert.equal((await test.ask(`${DEVICES}/cem2/revoke`, {})).status, 204)
    const [three] = (await test.make({ kind: 'person', ids: ['cem3'], user: one.user })) as [MadeDevice]
    assert.deepEqual([three.user, three.number], [one.user, 3])
    const nobody = '00000000-0000-4000-8000-000000000000'
    assertProblem(await test.ask(DEVICES, { kind: 'person', user: nobody }), 404, 'unknown_recipient')
  })

  const wrong: [what: string, body: object][] = [
    ['no kind', {}],
    ['an unknown kind', { kind: 'robot' }],
    ['an unknown field', { kind: 'thing', colour: 'red' }],
    ['a count that is a text', { kind: 'thing', count: '3' }],
    ['a count of nothing', { kind: 'thing', count: 0 }],
    ['ids and a count', { kind: 'thing', ids: ['x1'], count: 1 }],
    ['an id twice', { kind: 'thing', ids: ['twice', 'twice'] }],
    ['an id of 13 characters', { kind: 'thing', ids: ['abcdefghijklm'] }],
    ['an id in capitals', { kind: 'thing', ids: ['Sensor'] }],
    ['a prefix that leaves no room to count', { kind: 'thing', prefix: 'abcdefghijk', count: 10 }],
    ['a numbered person', { kind: 'person', numbered: true }],
    ['the login of operators as an id', { kind: 'thing', ids: ['observer'] }],
    ['a thing added to a user', { kind: 'thing', user: '00000000-0000-4000-8000-000000000000' }],
    ['one registration id for two devices', { kind: 'person', count: 2, registrationId: 7 }],
    ['a registration id of 16381', { kind: 'person', registrationId: 16_381 }],
    ['an owner that is no handle', { kind: 'thing', owner: 'The Fleet' }],
  ]
  for (const [what, body] of wrong) {
    it(`refuses ${what} and makes nothing`, async () => {
      const before = Number(test.node.server.opened.storeFacts()['registered'])
      assertProblem(await test.ask(DEVICES, body), 400, 'malformed')
      assert.equal(Number(test.node.server.opened.storeFacts()['registered']), before)
    })
  }
})
