/** Conformance: what every adapter of the accounts port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  ConflictFault,
  IdentityFault,
  type KeySet,
  type NewPerson,
  type NewPersonDevice,
  type Ports,
} from '../../core/ports.ts'
import { newUserId } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import type { Opener, Opening } from './opener.ts'

const hashOf = (text: string): Uint8Array => Uint8Array.from(createHash('sha256').update(text).digest())
const userOf = (byte: number): Uint8Array => newUserId('person', new Uint8Array(16).fill(byte))
const keyOf = (byte: number): Uint8Array => new Uint8Array(33).fill(byte)
const ALICE = userOf(1)
const BOB = userOf(2)
const KEY = keyOf(5)
const OTHER_KEY = keyOf(6)

/** Keys whose every byte is that of the device's: no adapter looks into them. */
function keysOf(byte: number): KeySet {
  const ec = (id: number) => ({ id, key: new Uint8Array(33).fill(byte) })
  const signed = (id: number, length: number) => ({
    id,
    key: new Uint8Array(length).fill(byte),
    signature: new Uint8Array(64).fill(byte),
  })
  return {
    signedPrekey: signed(1, 33),
    lastResortPrekey: signed(2, 1_569),
    oneTimePrekeys: [ec(3), ec(4)],
    oneTimeKemPrekeys: [signed(5, 1_569), signed(6, 1_569)],
  }
}
function person(user: Uint8Array, more: Partial<NewPerson> = {}): NewPerson {
  return { user, handle: undefined, phoneHash: hashOf(`phone of ${user}`), identityKey: KEY, ...more }
}
function device(id: string, more: Partial<NewPersonDevice> = {}): NewPersonDevice {
  return { id, registrationId: 77, name: undefined, tokenHash: hashOf(`token of ${id}`), keys: keysOf(1), ...more }
}
const taken = (what: ConflictFault['taken']) => (error: unknown) =>
  error instanceof ConflictFault && error.taken === what

type Given = Pick<Ports, 'accounts' | 'directory' | 'keys'>

/** What the tests ask of the ports that are open. */
function lookInto(opening: () => Opening<Given>) {
  const accounts = (): Ports['accounts'] => opening().ports.accounts
  const directory = (): Ports['directory'] => opening().ports.directory
  const ids = async (user: Uint8Array): Promise<string[]> =>
    (await accounts().person(user))?.devices.map(({ id }) => id) ?? []
  const isLetIn = async (id: string): Promise<boolean> =>
    (await directory().authenticate(id, hashOf(`token of ${id}`))) !== undefined
  const hasKeys = async (id: string): Promise<boolean> => {
    const { ec, kem } = await opening().ports.keys.count(id)
    return ec + kem > 0 || (await opening().ports.keys.repeated(id)) !== undefined
  }
  return { accounts, directory, ids, isLetIn, hasKeys }
}

/** Two at the same time: each write is asked for before the other one is done. */
function sideBySide(opening: () => Opening<Given>): void {
  const { accounts, directory, ids, isLetIn, hasKeys } = lookInto(opening)

  it('has one primary device when two replace it side by side, and says whose connections end', async () => {
    await accounts().register(person(ALICE), device('phone'))
    await accounts().link(ALICE, KEY, device('tablet'))
    const results = await Promise.all([
      accounts().replace(ALICE, KEY, ['phone'], device('one')),
      accounts().replace(ALICE, KEY, ['phone'], device('two')),
    ])
    const left = (await ids(ALICE)).filter((id) => id !== 'tablet')
    assert.equal(left.length, 1)
    const [last] = left as [string]
    const other = last === 'one' ? 'two' : 'one'
    for (let again = 0; again < 2; again++) {
      assert.deepEqual(new Set(await ids(ALICE)), new Set(['tablet', last]))
      const primary = (await accounts().person(ALICE))?.devices.filter(({ isPrimary }) => isPrimary)
      assert.deepEqual(
        primary?.map(({ id }) => id),
        [last],
      )
      assert.deepEqual([await hasKeys(other), await hasKeys('tablet'), await hasKeys(last)], [false, true, true])
      await opening().crash()
    }
    assert.ok(results.some(({ ended }) => ended.includes(other)))
  })

  it('begins anew for the last one when two do it side by side, with nothing of the other', async () => {
    await accounts().register(person(ALICE), device('phone'))
    const third = keyOf(7)
    const results = await Promise.all([
      accounts().replace(ALICE, OTHER_KEY, [], device('one')),
      accounts().replace(ALICE, third, [], device('two')),
    ])
    const [last] = (await ids(ALICE)) as [string]
    const other = last === 'one' ? 'two' : 'one'
    assert.deepEqual(await ids(ALICE), [last])
    assert.ok(results.some(({ ended }) => ended.includes(other)))
    assert.deepEqual((await accounts().person(ALICE))?.identityKey, last === 'two' ? third : OTHER_KEY)
    assert.deepEqual([await hasKeys(other), await isLetIn(other), await isLetIn(last)], [false, false, true])
  })

  for (const [what, key] of [
    ['the same identity key', KEY],
    ['another identity key', OTHER_KEY],
  ] as const) {
    it(`gives nobody a device who replaces one, with ${what}, while the account is erased`, async () => {
      await accounts().register(person(ALICE, { handle: 'alice' }), device('phone'))
      const [erased, replaced] = await Promise.allSettled([
        accounts().erase(ALICE),
        accounts().replace(ALICE, key, ['phone'], device('new'), 'alice2'),
      ])
      assert.equal(erased.status, 'fulfilled')
      assert.ok(replaced.status === 'rejected' && replaced.reason instanceof IdentityFault)
      for (let again = 0; again < 2; again++) {
        assert.equal(await accounts().person(ALICE), undefined)
        assert.equal(await directory().accountByHandle('alice2'), undefined)
        assert.deepEqual([await isLetIn('new'), await hasKeys('new')], [false, false])
        await opening().crash()
      }
    })
  }
}

/** Accounts of core/ports.ts: every sentence of its comments. */
export function accountsSuite(open: Opener<Given>): void {
  describe('Accounts', () => {
    let opening: Opening<Given>
    const { accounts, directory, ids, isLetIn, hasKeys } = lookInto(() => opening)
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    for (const again of ['', 'reopen', 'crash'] as const) {
      it(`finds a person by user and phone, as it was registered${again === '' ? '' : `, after ${again} too`}`, async () => {
        const name = new Uint8Array([1, 2, 3])
        assert.equal(await accounts().register(person(ALICE, { handle: 'alice' }), device('phone', { name })), 1)
        if (again !== '') await opening[again]()
        for (const found of [
          await accounts().person(ALICE),
          await accounts().personByPhone(hashOf(`phone of ${ALICE}`)),
        ]) {
          assert.deepEqual(found?.user, ALICE)
          assert.equal(found.handle, 'alice')
          assert.deepEqual(found.identityKey, KEY)
          assert.equal(found.devices.length, 1)
          const { createdMs, name: kept, ...rest } = found.devices[0] as (typeof found.devices)[0]
          assert.deepEqual(rest, { id: 'phone', number: 1, registrationId: 77, seenMs: 0, isPrimary: true })
          assert.deepEqual(Uint8Array.from(kept as Uint8Array), name)
          assert.ok(Math.abs(createdMs - Date.now()) < 60_000)
        }
        assert.equal(await accounts().personByPhone(hashOf('another phone')), undefined)
        assert.equal(await accounts().person(BOB), undefined)
        assert.equal(await hasKeys('phone'), true)
      })
    }

    it('is known to the directory at once, with and without a device id', async () => {
      assert.equal(await directory().account(ALICE), undefined)
      const before = directory().version()
      await accounts().register(person(ALICE, { handle: 'alice' }), device('phone'))
      assert.ok(directory().version() > before)
      assert.equal((await directory().accountByHandle('alice'))?.devices.length, 1)
      const principal = await directory().authenticate(undefined, hashOf('token of phone'))
      assert.equal(principal?.device.id, 'phone')
      assert.equal(principal.account.kind, 'person')
      assert.equal(await directory().authenticate(undefined, hashOf('another token')), undefined)
      await accounts().link(ALICE, KEY, device('tablet'))
      assert.equal((await directory().account(ALICE))?.devices.length, 2)
    })

    it('is no person without an identity key', async () => {
      const kind = 'person' as const
      await directory().create([{ user: ALICE, kind, handle: 'alice', owner: undefined }], [])
      assert.equal(await accounts().person(ALICE), undefined)
      await assert.rejects(accounts().link(ALICE, KEY, device('tablet')), IdentityFault)
      await assert.rejects(accounts().replace(ALICE, KEY, [], device('tablet')), IdentityFault)
      await assert.rejects(accounts().link(BOB, KEY, device('tablet')), IdentityFault)
      await assert.rejects(accounts().replace(BOB, KEY, [], device('tablet')), IdentityFault)
      assert.equal(await hasKeys('tablet'), false)
    })

    const conflicts: [what: ConflictFault['taken'], person: NewPerson, device: NewPersonDevice][] = [
      ['phone', person(BOB, { phoneHash: hashOf(`phone of ${ALICE}`) }), device('new')],
      ['handle', person(BOB, { handle: 'alice' }), device('new')],
      ['device', person(BOB), device('phone')],
    ]
    for (const [what, who, with_] of conflicts) {
      it(`registers all or nothing, and says that a ${what} is taken`, async () => {
        await accounts().register(person(ALICE, { handle: 'alice' }), device('phone'))
        await assert.rejects(accounts().register(who, with_), taken(what))
        for (let again = 0; again < 2; again++) {
          assert.equal(await accounts().person(BOB), undefined)
          assert.equal(await hasKeys('new'), false)
          assert.deepEqual(await ids(ALICE), ['phone'])
          await opening.crash()
        }
      })
    }

    it('registers one phone once, when two do it at the same time', async () => {
      const phoneHash = hashOf('one phone')
      const results = await Promise.allSettled([
        accounts().register(person(ALICE, { phoneHash }), device('one')),
        accounts().register(person(BOB, { phoneHash }), device('two')),
      ])
      assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    })

    it('links devices with the next numbers that the account never had', async () => {
      await accounts().register(person(ALICE), device('phone'))
      assert.equal(await accounts().link(ALICE, KEY, device('tablet')), 2)
      await directory().revoke('tablet')
      assert.equal(await accounts().link(ALICE, KEY, device('desk')), 3)
      const found = await accounts().person(ALICE)
      assert.deepEqual(
        found?.devices.map(({ id, number, isPrimary }) => [id, number, isPrimary]),
        [
          ['phone', 1, true],
          ['desk', 3, false],
        ],
      )
      assert.equal(await hasKeys('tablet'), false)
      assert.equal(await hasKeys('desk'), true)
    })

    it('links nobody with another identity key', async () => {
      await accounts().register(person(ALICE), device('phone'))
      await assert.rejects(accounts().link(ALICE, OTHER_KEY, device('tablet')), IdentityFault)
      assert.deepEqual(await ids(ALICE), ['phone'])
      assert.equal(await hasKeys('tablet'), false)
    })

    it(`links ${limits.linkedDevicesMax} devices and not one more, also at once`, async () => {
      await accounts().register(person(ALICE), device('phone'))
      const asked = Array.from({ length: limits.linkedDevicesMax + 2 }, (_, i) =>
        accounts().link(ALICE, KEY, device(`linked${i}`)),
      )
      const results = await Promise.allSettled(asked)
      const refused = results.filter((result) => result.status === 'rejected')
      assert.equal(refused.length, 2)
      for (const { reason } of refused) assert.ok(taken('number')(reason))
      assert.equal((await ids(ALICE)).length, 1 + limits.linkedDevicesMax)
    })

    it(`gives no number above ${limits.devicesPerUserMax}`, async () => {
      await accounts().register(person(ALICE), device('phone'))
      const last = { id: 'last', user: ALICE, number: limits.devicesPerUserMax, registrationId: 1, numbered: false }
      await directory().create([], [{ ...last, tokenHash: hashOf('x') }])
      await assert.rejects(accounts().link(ALICE, KEY, device('tablet')), taken('number'))
      await assert.rejects(accounts().replace(ALICE, OTHER_KEY, [], device('new')), taken('number'))
      for (let again = 0; again < 2; again++) {
        assert.deepEqual((await accounts().person(ALICE))?.identityKey, KEY)
        assert.deepEqual(await ids(ALICE), ['phone', 'last'])
        assert.equal(await hasKeys('phone'), true)
        await opening.crash()
      }
    })

    it('replaces what it is told to when the identity key is the same', async () => {
      await accounts().register(person(ALICE, { handle: 'alice' }), device('phone'))
      await accounts().link(ALICE, KEY, device('tablet'))
      const { number, ended } = await accounts().replace(ALICE, KEY, ['phone'], device('phone2'), 'alice2')
      assert.equal(number, 3)
      assert.ok(ended.includes('phone') && !ended.includes('tablet') && !ended.includes('phone2'))
      for (let again = 0; again < 2; again++) {
        assert.deepEqual(await ids(ALICE), ['tablet', 'phone2'])
        assert.deepEqual(
          [await isLetIn('phone'), await isLetIn('tablet'), await isLetIn('phone2')],
          [false, true, true],
        )
        assert.deepEqual([await hasKeys('phone'), await hasKeys('tablet')], [false, true])
        assert.equal((await accounts().person(ALICE))?.handle, 'alice2')
        assert.equal((await directory().account(ALICE))?.handle, 'alice2')
        await opening.crash()
      }
    })

    it('ends all devices when the identity key is another one, whatever it is told', async () => {
      await accounts().register(person(ALICE, { handle: 'alice' }), device('phone'))
      await accounts().link(ALICE, KEY, device('tablet'))
      const { number, ended } = await accounts().replace(ALICE, OTHER_KEY, [], device('phone2'))
      assert.equal(number, 3)
      assert.deepEqual([...ended].sort(), ['phone', 'tablet'])
      for (let again = 0; again < 2; again++) {
        const found = await accounts().person(ALICE)
        assert.deepEqual(found?.identityKey, OTHER_KEY)
        assert.equal(found.handle, 'alice')
        assert.deepEqual(await ids(ALICE), ['phone2'])
        assert.deepEqual(
          [await isLetIn('phone'), await isLetIn('tablet'), await isLetIn('phone2')],
          [false, false, true],
        )
        assert.deepEqual(
          [await hasKeys('phone'), await hasKeys('tablet'), await hasKeys('phone2')],
          [false, false, true],
        )
        await opening.crash()
      }
    })

    it('leaves no device with an old identity key, when one is linked while the account begins anew', async () => {
      await accounts().register(person(ALICE), device('phone'))
      const [tablet, replaced, desk] = await Promise.allSettled([
        accounts().link(ALICE, KEY, device('tablet')),
        accounts().replace(ALICE, OTHER_KEY, [], device('phone2')),
        accounts().link(ALICE, KEY, device('desk')),
      ])
      assert.equal(replaced.status, 'fulfilled')
      // Before the account began anew it ended with it, and after that it is refused.
      for (const [id, link] of [['tablet', tablet] as const, ['desk', desk] as const]) {
        if (link.status === 'fulfilled') assert.ok(replaced.value.ended.includes(id))
        else assert.ok(link.reason instanceof IdentityFault)
      }
      if (opening.isInOrder === true) assert.deepEqual([tablet.status, desk.status], ['fulfilled', 'rejected'])
      assert.deepEqual(await ids(ALICE), ['phone2'])
    })

    describe('side by side', () => sideBySide(() => opening))

    it('replaces nothing when the handle is taken', async () => {
      await accounts().register(person(ALICE), device('phone'))
      await accounts().register(person(BOB, { handle: 'bob' }), device('bobs'))
      await assert.rejects(accounts().replace(ALICE, OTHER_KEY, ['phone'], device('new'), 'bob'), taken('handle'))
      assert.deepEqual(await ids(ALICE), ['phone'])
      assert.deepEqual((await accounts().person(ALICE))?.identityKey, KEY)
    })

    it('changes name and token of a device, and nothing of one that ended', async () => {
      await accounts().register(person(ALICE), device('phone'))
      await accounts().change('phone', { name: new Uint8Array([9]) })
      assert.equal(await isLetIn('phone'), true)
      await accounts().change('phone', { tokenHash: hashOf('fresh') })
      await accounts().change('nobody', { tokenHash: hashOf('fresh') })
      for (let again = 0; again < 2; again++) {
        assert.equal(await isLetIn('phone'), false)
        assert.equal((await directory().authenticate(undefined, hashOf('fresh')))?.device.id, 'phone')
        const [only] = (await accounts().person(ALICE))?.devices ?? []
        assert.deepEqual(Uint8Array.from(only?.name as Uint8Array), new Uint8Array([9]))
        await opening.crash()
      }
      await directory().revoke('phone')
      await accounts().change('phone', { tokenHash: hashOf('later') })
      assert.equal(await directory().authenticate(undefined, hashOf('later')), undefined)
    })

    it('knows when a device was seen last: it rises, whatever order it is told in, and ends with the device', async () => {
      await accounts().register(person(ALICE), device('a1'))
      const seen = async () => (await accounts().person(ALICE))?.devices.map(({ seenMs }) => seenMs)
      const version = directory().version()
      assert.deepEqual(await seen(), [0])
      for (const atMs of [1_000_000_000_000, 2_000_000_000_000, 1_500_000_000_000]) await accounts().seen('a1', atMs)
      assert.deepEqual(await seen(), [2_000_000_000_000])
      await accounts().seen('nobody', 5)
      assert.equal(directory().version(), version)
      await accounts().replace(ALICE, KEY, [], device('a2'))
      await accounts().seen('a1', 2_000_000_000_001)
      assert.deepEqual(await seen(), [0])
    })

    it('erases: the person is nobody, its number and handle are free, its id is not', async () => {
      await accounts().register(person(ALICE, { handle: 'alice' }), device('phone'))
      await accounts().link(ALICE, KEY, device('tablet'))
      await directory().account(ALICE)
      assert.deepEqual([...(await accounts().erase(ALICE))].sort(), ['phone', 'tablet'])
      await accounts().erase(ALICE)
      for (let again = 0; again < 2; again++) {
        assert.equal(await accounts().person(ALICE), undefined)
        assert.equal(await accounts().personByPhone(hashOf(`phone of ${ALICE}`)), undefined)
        assert.equal(await directory().account(ALICE), undefined)
        assert.equal(await directory().accountByHandle('alice'), undefined)
        assert.equal(await directory().accountOfDevice('phone'), undefined)
        assert.deepEqual(
          [await isLetIn('phone'), await hasKeys('phone'), await hasKeys('tablet')],
          [false, false, false],
        )
        await opening.crash()
      }
      await assert.rejects(accounts().link(ALICE, KEY, device('desk')), IdentityFault)
      await accounts().register(
        person(BOB, { handle: 'alice', phoneHash: hashOf(`phone of ${ALICE}`) }),
        device('bobs'),
      )
      assert.equal((await directory().accountByHandle('alice'))?.devices[0]?.id, 'bobs')
    })

    it('counts its devices as the directory does', async () => {
      const registered = async () => Number((await opening.facts())['registered'])
      await accounts().register(person(ALICE), device('phone'))
      await accounts().link(ALICE, KEY, device('tablet'))
      assert.equal(await registered(), 2)
      await accounts().replace(ALICE, KEY, ['phone'], device('phone1'))
      assert.equal(await registered(), 2)
      await accounts().replace(ALICE, OTHER_KEY, [], device('phone2'))
      assert.equal(await registered(), 1)
      await accounts().erase(ALICE)
      assert.equal(await registered(), 0)
    })
  })
}
