/** When a device of one's account was here last: from the end of a connection, through the job, to the list. */
import assert from 'node:assert/strict'
import { queues } from '../../workers/index.ts'
import { presence } from '../../workers/presence.ts'
import { until } from '../data-plane/scene.ts'
import type { Client } from '../world/client.ts'
import { call, link, type Person, register } from '../world/person.ts'
import { type MadeDevice, startTestNode, type TestNode } from './node.ts'

const HOUR_MS = 3_600_000

describe('when a device was active last', function () {
  this.timeout(20_000)
  let test: TestNode
  let ann: Person
  let tablet: Person
  beforeEach(async () => {
    test = await startTestNode()
    ann = await register(test, '+15550001111')
    tablet = await link(test, ann, 'dGFibGV0')
  })
  afterEach(() => test.stop())

  const minute = (): string => new Date(Math.floor((Date.now() + test.clock.offsetMs) / 60_000) * 60_000).toISOString()
  async function lastActive(of: Person): Promise<unknown> {
    const { body } = await call(test.url, 'GET', '/v1/devices', { token: ann.token })
    return (body['devices'] as Record<string, unknown>[]).find(({ device }) => device === of.device)?.['lastActive']
  }
  const attend = async (): Promise<Client> => {
    const topic = `d/${tablet.device}/gone`
    const will = { topic, payload: Buffer.from('gone'), qos: 1 as const, retain: false }
    const client = await test.connect(tablet as unknown as MadeDevice, { will })
    await client.subscribe(`d/${tablet.device}/in`)
    return client
  }

  it('is not known of who never came, now of who is here, and the minute it left of who is gone', async () => {
    assert.equal(await lastActive(tablet), undefined)
    const client = await attend()
    const before = minute()
    assert.ok([before, minute()].includes((await lastActive(tablet)) as string))
    test.clock.offsetMs += HOUR_MS
    const left = [minute()]
    client.destroy()
    await until(async () => {
      left.push(minute())
      const { accounts, directory } = test.node.server.opened.ports
      const account = await directory.accountOfDevice(tablet.device)
      const person = account && (await accounts.person(account.user))
      return person?.devices.some(({ id, seenMs }) => id === tablet.device && seenMs > 0) === true
    }, 'the time it left')
    test.clock.offsetMs += HOUR_MS
    assert.ok(left.includes((await lastActive(tablet)) as string))
    assert.equal(await lastActive(ann), undefined)
  })

  it('is left alone by the job of a device that is back', async () => {
    const client = await attend()
    const { ports, jobs } = test.node.server.opened
    const ofPush = jobs.queue('push', queues.push.rules)
    await presence({ id: tablet.device, data: { goneMs: 60_000 } }, ports, ofPush)
    const seen = async () => {
      const account = await ports.directory.accountOfDevice(tablet.device)
      const person = account && (await ports.accounts.person(account.user))
      return person?.devices.find(({ id }) => id === tablet.device)?.seenMs
    }
    assert.equal(await seen(), 0)
    client.destroy()
    await until(async () => (await ports.claims.locate([tablet.device])).size === 0, 'the end of the claim')
    await presence({ id: tablet.device, data: { goneMs: 60_000 } }, ports, ofPush)
    assert.ok(((await seen()) ?? 0) >= 60_000)
  })
})
