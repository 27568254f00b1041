import assert from 'node:assert/strict'
import { judgeRaw } from '../../core/address.ts'
import type { Account, Kind } from '../../core/ports.ts'

const account = (key: string, kind: Kind, owner?: string): Account => ({
  user: Buffer.from(key),
  key,
  kind,
  handle: undefined,
  owner,
  allowed: new Set(),
  devices: [],
})
const alice = account('alice', 'person')
const bob = account('bob', 'person')
const fleet = account('fleet', 'service')
const sensor = account('sensor', 'thing', 'fleet')
const valve = account('valve', 'thing', 'fleet')
const other = account('other', 'service')
const stranger = account('stranger', 'thing', 'other')
const doorbell = account('doorbell', 'thing', 'alice')

const lists = (entries: Record<string, string[]>) => (owner: string) => new Set(entries[owner] ?? [])
const nobody = lists({})

describe('raw bytes', () => {
  it('never go from one person to another, whoever is listed', () => {
    assert.equal(judgeRaw(alice, bob, lists({ alice: ['bob'], bob: ['alice'] })), 'raw_not_allowed')
    assert.equal(judgeRaw(alice, alice, nobody), 'raw_not_allowed')
  })

  it('go between a thing and its owner, both ways', () => {
    for (const [one, two] of [
      [sensor, fleet],
      [doorbell, alice],
    ] as const) {
      assert.equal(judgeRaw(one, two, nobody), undefined)
      assert.equal(judgeRaw(two, one, nobody), undefined)
    }
  })

  it('go between things of one owner', () => assert.equal(judgeRaw(sensor, valve, nobody), undefined))

  it('go to and from whom the owner lists: an account, or what that account owns', () => {
    const listed = lists({ fleet: ['alice', 'other'] })
    for (const peer of [alice, other, stranger, doorbell]) {
      assert.equal(judgeRaw(peer, sensor, listed), undefined, `${peer.key} to sensor`)
      assert.equal(judgeRaw(sensor, peer, listed), undefined, `sensor to ${peer.key}`)
    }
  })

  it('go nowhere else', () => {
    for (const peer of [bob, other, stranger, doorbell]) {
      assert.equal(judgeRaw(peer, sensor, nobody), 'not_allowed', `${peer.key} to sensor`)
      assert.equal(judgeRaw(sensor, peer, nobody), 'not_allowed', `sensor to ${peer.key}`)
    }
  })

  it('reach no person by that person being listed by somebody else', () => {
    assert.equal(judgeRaw(stranger, alice, lists({ fleet: ['alice'], bob: ['other'] })), 'not_allowed')
  })
})
