import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPorts } from '../../adapters/open.ts'
import type { Opened } from '../../adapters/opened.ts'
import { readConfig } from '../../core/config.ts'
import { IntakeFault } from '../../core/envelope.ts'
import type { Keys, Log } from '../../core/ports.ts'
import { newUserId } from '../../topics/ids.ts'
import { createGate, type Gate } from '../data-plane/scene.ts'

const SQLITE_IOERR = 10
const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const prekey = (id: number) => ({ id, key: new Uint8Array(33).fill(id), signature: new Uint8Array(64) })
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

describe('prekeys in SQLite', () => {
  let folder: string
  let gate: Gate
  let opened: Opened
  const keys = (): Keys => opened.ports.keys
  const take = async () => (await keys().take([{ device: 'phone', spend: true }]))[0]?.oneTimePrekey?.id

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
    gate = createGate()
    const config = readConfig({ DATA_DIR: folder, DISK_RESERVE_MIB: '1' })
    const fatal = (error: Error) => assert.fail(error)
    opened = await openPorts(config, Date.now, quiet, fatal, { gate: gate.words })
    const user = newUserId('person', new Uint8Array(16))
    const devices = ['phone', 'desk'].map((id, number) => {
      return { id, user, number: number + 1, registrationId: 1, numbered: false, tokenHash: new Uint8Array(32) }
    })
    await opened.ports.directory.create([{ user, kind: 'person', handle: undefined, owner: undefined }], devices)
    const [signedPrekey, lastResortPrekey, ten] = [prekey(1), prekey(2), numbers(10).map(prekey)]
    for (const { id } of devices) {
      await keys().put(id, { signedPrekey, lastResortPrekey, oneTimePrekeys: ten, oneTimeKemPrekeys: ten })
    }
  })
  afterEach(async () => {
    gate.open()
    await opened.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('are not answered before they are gone from the disk', async () => {
    gate.close()
    const arrival = gate.arrival()
    let isAnswered = false
    const taken = take().finally(() => (isAnswered = true))
    await arrival
    assert.equal(isAnswered, false)
    assert.deepEqual(await keys().count('phone'), { ec: 10, kem: 10 })
    gate.open()
    assert.equal(await taken, 1)
    assert.deepEqual(await keys().count('phone'), { ec: 9, kem: 9 })
  })

  it('are one transaction for all that ask while another is on its way', async () => {
    const commits = () => Atomics.load(gate.words, 1)
    gate.close()
    const arrival = gate.arrival()
    const first = take()
    await arrival
    const others = numbers(8).map(take)
    const before = commits()
    gate.open()
    assert.equal(await first, 1)
    assert.deepEqual(await Promise.all(others), [2, 3, 4, 5, 6, 7, 8, 9])
    assert.equal(commits(), before + 1)
  })

  it('are given to the next one when the commit of the first failed', async () => {
    gate.fail(SQLITE_IOERR)
    const fault = (error: unknown) => error instanceof IntakeFault && error.code === 'storage_unavailable'
    await Promise.all(numbers(3).map(() => assert.rejects(take(), fault)))
    await assert.rejects(keys().put('phone', { oneTimePrekeys: [] }), fault)
    gate.open()
    assert.deepEqual(await keys().count('phone'), { ec: 10, kem: 10 })
    assert.deepEqual(await Promise.all(numbers(3).map(take)), [1, 2, 3])
  })

  it('are not given when they went away with their device meanwhile', async () => {
    gate.close()
    const arrival = gate.arrival()
    const revoked = opened.ports.directory.revoke('phone')
    await arrival
    const taken = keys().take(['desk', 'phone', 'desk'].map((device) => ({ device, spend: true })))
    gate.open()
    await revoked
    const ids = (await taken).map((bundle) => bundle?.oneTimePrekey?.id)
    assert.deepEqual(ids, [1, undefined, 2])
  })

  it('wait in a queue that has an end', async () => {
    gate.close()
    const waiting = numbers(10_001).map(take)
    await assert.rejects(take(), (error) => error instanceof IntakeFault && error.code === 'overloaded')
    gate.open()
    const ids = await Promise.all(waiting)
    assert.deepEqual(ids.slice(0, 11), [...numbers(10), undefined])
  })
})
