/** Conformance: what every adapter of the directory port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { ConflictFault, type NewAccount, type NewDevice, type Ports } from '../../core/ports.ts'
import { newUserId } from '../../topics/ids.ts'
import type { Opener, Opening } from './opener.ts'

const hashOf = (token: string): Uint8Array => createHash('sha256').update(token).digest()
const userOf = (byte: number, kind: 'person' | 'thing' = 'person') => newUserId(kind, new Uint8Array(16).fill(byte))
const keyOf = (user: Uint8Array): string => Buffer.from(user).toString('latin1')
const ALICE = userOf(1)
const FLEET = userOf(2, 'thing')
const SENSOR = userOf(3, 'thing')

function account(user: Uint8Array, more: Partial<NewAccount> = {}): NewAccount {
  return { user, kind: 'person', handle: undefined, owner: undefined, ...more }
}
function device(id: string, user: Uint8Array, more: Partial<NewDevice> = {}): NewDevice {
  return { id, user, number: 1, registrationId: 77, numbered: false, tokenHash: hashOf(`token of ${id}`), ...more }
}

type Given = Pick<Ports, 'directory'>

/** Directory of core/ports.ts: every sentence of its comments. */
export function directorySuite(open: Opener<Given>): void {
  describe('Directory', () => {
    let opening: Opening<Given>
    const directory = () => opening.ports.directory
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    const makeAlice = () => directory().create([account(ALICE, { handle: 'alice' })], [device('phone', ALICE)])

    for (const again of ['', 'reopen', 'crash'] as const) {
      it(`finds an account by user, handle and device${again === '' ? '' : `, after ${again} too`}`, async () => {
        await directory().create(
          [
            account(FLEET, { kind: 'service', handle: 'fleet' }),
            account(SENSOR, { kind: 'thing', owner: FLEET }),
            account(ALICE),
          ],
          [device('svc', FLEET), device('s1', SENSOR, { numbered: true, number: 3 })],
        )
        if (again !== '') await opening[again]()
        for (const found of [
          await directory().account(FLEET),
          await directory().accountByHandle('fleet'),
          await directory().accountOfDevice('svc'),
        ]) {
          assert.equal(found?.key, keyOf(FLEET))
          assert.deepEqual(Buffer.from(found.user), Buffer.from(FLEET))
          assert.equal(found.kind, 'service')
          assert.equal(found.handle, 'fleet')
          assert.equal(found.owner, undefined)
        }
        const sensor = await directory().accountOfDevice('s1')
        assert.equal(sensor?.owner, keyOf(FLEET))
        assert.deepEqual(sensor?.devices, [{ id: 's1', number: 3, registrationId: 77, numbered: true }])
        assert.deepEqual((await directory().account(ALICE))?.devices, [])
      })
    }

    it('knows nobody who was not made', async () => {
      assert.equal(await directory().account(ALICE), undefined)
      assert.equal(await directory().accountByHandle('alice'), undefined)
      assert.equal(await directory().accountOfDevice('phone'), undefined)
    })

    it('lists devices by number, also those that are added later', async () => {
      await makeAlice()
      assert.equal((await directory().account(ALICE))?.devices.length, 1)
      await directory().create([], [device('desk', ALICE, { number: 3 }), device('tablet', ALICE, { number: 2 })])
      const ids = (await directory().account(ALICE))?.devices.map(({ id }) => id)
      assert.deepEqual(ids, ['phone', 'tablet', 'desk'])
    })

    it('lets in who has the token of that very device', async () => {
      await makeAlice()
      await directory().create([], [device('desk', ALICE, { number: 2 })])
      const principal = await directory().authenticate('phone', hashOf('token of phone'))
      assert.equal(principal?.device.id, 'phone')
      assert.equal(principal?.account.key, keyOf(ALICE))
      assert.equal(await directory().authenticate('phone', hashOf('token of desk')), undefined)
      assert.equal(await directory().authenticate('phone', hashOf('wrong')), undefined)
      assert.equal(await directory().authenticate('nobody', hashOf('token of phone')), undefined)
      assert.equal(await directory().authenticate('nobody', new Uint8Array(32)), undefined)
    })

    const conflicts: [taken: ConflictFault['taken'], accounts: NewAccount[], devices: NewDevice[]][] = [
      ['device', [account(userOf(9))], [device('new', userOf(9)), device('phone', userOf(9), { number: 2 })]],
      ['handle', [account(userOf(9)), account(userOf(8), { handle: 'alice' })], [device('new', userOf(9))]],
      ['number', [account(userOf(9))], [device('new', userOf(9)), device('new2', ALICE)]],
    ]
    for (const [taken, accounts, devices] of conflicts) {
      it(`makes all or nothing, and says that a ${taken} is taken`, async () => {
        await makeAlice()
        await assert.rejects(
          directory().create(accounts, devices),
          (error) => error instanceof ConflictFault && error.taken === taken,
        )
        for (let again = 0; again < 2; again++) {
          assert.equal(await directory().account(userOf(9)), undefined)
          assert.equal(await directory().accountOfDevice('new'), undefined)
          assert.equal((await directory().accountByHandle('alice'))?.devices.length, 1)
          await opening.crash()
        }
      })
    }

    it('keeps whom an owner lets in, once', async () => {
      await makeAlice()
      await directory().create([account(FLEET, { kind: 'service', handle: 'fleet' })], [])
      assert.deepEqual([...((await directory().account(FLEET))?.allowed ?? [])], [])
      await directory().allow(FLEET, ALICE)
      await directory().allow(FLEET, ALICE)
      for (let again = 0; again < 2; again++) {
        assert.deepEqual([...((await directory().account(FLEET))?.allowed ?? [])], [keyOf(ALICE)])
        await opening.crash()
      }
    })

    it('refuses a revoked device from then on, durably, and revokes it twice as once', async () => {
      await makeAlice()
      await directory().create([], [device('desk', ALICE, { number: 2 })])
      await directory().account(ALICE)
      assert.equal(await directory().revoke('phone'), true)
      assert.equal(await directory().revoke('phone'), true)
      assert.equal(await directory().revoke('nobody'), false)
      for (let again = 0; again < 2; again++) {
        assert.equal(await directory().authenticate('phone', hashOf('token of phone')), undefined)
        assert.equal(await directory().accountOfDevice('phone'), undefined)
        assert.deepEqual(
          (await directory().account(ALICE))?.devices.map(({ id }) => id),
          ['desk'],
        )
        assert.notEqual(await directory().authenticate('desk', hashOf('token of desk')), undefined)
        await opening.crash()
      }
    })

    it('raises its version with every change', async () => {
      const versions = [directory().version()]
      const note = () => versions.push(directory().version())
      await makeAlice()
      note()
      await directory().allow(ALICE, FLEET)
      note()
      await directory().revoke('phone')
      note()
      assert.deepEqual(
        versions,
        [...new Set(versions)].sort((a, b) => a - b),
      )
    })
  })
}
