import assert from 'node:assert/strict'
import { limits } from '../../topics/limits.ts'
import { errorsOf, inOf, send } from '../data-plane/scene.ts'
import { asDevice, call, type HttpAnswer, link, type Person, register } from '../world/person.ts'
import { assertProblem, type MadeDevice, startTestNode, type TestNode } from './node.ts'

const ANN = '+15550001111'
const BOB = '+15550002222'

interface Shown {
  device: string
  name?: string
  primary: boolean
  current: boolean
}

describe('/v1/devices', () => {
  let test: TestNode
  let ann: Person
  let tablet: Person
  let bob: Person
  const list = async ({ token }: Person): Promise<Shown[]> =>
    (await call(test.url, 'GET', '/v1/devices', { token })).body['devices'] as Shown[]
  const rename = ({ token }: Person, device: string, body: unknown): Promise<HttpAnswer> =>
    call(test.url, 'PATCH', `/v1/devices/${device}`, { token, body })
  const end = ({ token }: Person, device: string): Promise<HttpAnswer> =>
    call(test.url, 'DELETE', `/v1/devices/${device}`, { token })
  beforeEach(async () => {
    test = await startTestNode()
    ann = await register(test, ANN)
    tablet = await link(test, ann, 'dGFibGV0')
    bob = await register(test, BOB)
  })
  afterEach(() => test.stop())

  it('lists the devices of the account by number, and says which one asks', async () => {
    assert.deepEqual(
      (await list(tablet)).map(({ device, name, primary, current }) => [device, name, primary, current]),
      [
        [ann.device, undefined, true, false],
        [tablet.device, 'dGFibGV0', false, true],
      ],
    )
  })

  it('names a device: each itself, and the primary one all', async () => {
    assert.equal((await rename(tablet, tablet.device, { name: 'b25l' })).status, 204)
    assert.equal((await rename(ann, ann.device, { name: 'dHdv' })).status, 204)
    assert.deepEqual(
      (await list(ann)).map(({ name }) => name),
      ['dHdv', 'b25l'],
    )
    assert.equal((await rename(ann, tablet.device, { name: 'dGhyZWU' })).status, 204)
    assert.equal((await list(ann))[1]?.name, 'dGhyZWU')
    assertProblem(await rename(tablet, ann.device, { name: 'bm8' }), 403, 'not_primary')
    for (const body of [{}, { name: '' }, { name: 'YQ', primary: true }, { name: null }, []]) {
      assertProblem(await rename(ann, ann.device, body), 400, 'malformed')
    }
    const long = Buffer.alloc(limits.deviceNameBytesMax + 1).toString('base64url')
    assertProblem(await rename(ann, ann.device, { name: long }), 400, 'malformed')
  })

  it('ends a device at once: token, live connection, inbox and keys', async () => {
    const live = await test.connect(tablet as unknown as MadeDevice)
    await live.subscribe(`d/${tablet.device}/in`)
    assert.equal((await end(ann, tablet.device)).status, 204)
    await live.closed(limits.revokeDelayMsMax)
    assertProblem(await call(test.url, 'GET', '/v1/account', { token: tablet.token }), 401, 'unauthorized')
    assert.equal((await test.connect(tablet as unknown as MadeDevice)).connack?.returnCode, 4)
    assert.deepEqual(
      (await list(ann)).map(({ device }) => device),
      [ann.device],
    )
    assertProblem(await end(ann, tablet.device), 404, 'unknown_recipient')
  })

  it('lets a linked device end itself and no other', async () => {
    assertProblem(await end(tablet, ann.device), 403, 'not_primary')
    assert.equal((await end(tablet, tablet.device)).status, 204)
    assert.equal((await list(ann)).length, 1)
  })

  it('answers for a device of somebody else as for one that there is not', async () => {
    const ids = [bob.device, 'nobody', 'NOBODY', '..%2f..', '%00', '+', `${'x'.repeat(90)}`]
    for (const ask of [end, (who: Person, id: string) => rename(who, id, { name: 'YQ' })]) {
      const answers = new Set<string>()
      for (const id of ids) {
        const answer = await ask(ann, id)
        assertProblem(answer, 404, 'unknown_recipient')
        answers.add(JSON.stringify(answer.body))
      }
      assert.equal(answers.size, 1)
    }
    assert.equal((await list(bob)).length, 1)
  })

  it('is what senders are held to: who still writes to an ended device is told to drop it', async () => {
    const from = await test.connect(bob as unknown as MadeDevice)
    await from.subscribe(inOf(asDevice(bob)))
    const people = [asDevice(ann), asDevice(tablet)]
    await send(from, asDevice(bob), people)
    assert.deepEqual(errorsOf(from), [])
    assert.equal((await end(ann, tablet.device)).status, 204)
    await send(from, asDevice(bob), people)
    await from.until((client) => errorsOf(client).length > 0, 'an error')
    assert.deepEqual(
      errorsOf(from)[0]?.extra.map(({ device }) => device),
      [tablet.number],
    )
  })
})
