/** Secrets at rest: what opens them, and that nothing else does. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ClientErrorCode, ClientFault, openClient } from '../../client/index.ts'
import { newVault, openVault, type Unlock } from '../../client/store/vault.ts'

const hasCode =
  (code: ClientErrorCode, sentence = /./) =>
  (error: unknown) =>
    error instanceof ClientFault && error.code === code && sentence.test(error.message)

describe('the vault', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-vault-'))
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('opens what it sealed, after it was opened again', () => {
    const unlock = { passphrase: 'correct horse' }
    const { vault, kept } = newVault(unlock)
    const value = Buffer.from('a secret')
    const sealed = vault.seal('here', value)
    assert.equal(sealed.length, value.length + 28)
    assert.ok(!sealed.includes('secret'))
    assert.deepEqual(openVault(unlock, kept).open('here', sealed), value)
    assert.deepEqual(openVault(unlock, kept).open('nothing', vault.seal('nothing', Buffer.alloc(0))), Buffer.alloc(0))
  })

  it('never seals the same bytes twice alike', () => {
    const { vault } = newVault({ passphrase: 'x' })
    assert.notDeepEqual(vault.seal('a', Buffer.from('b')), vault.seal('a', Buffer.from('b')))
  })

  it('takes a passphrase however its accents were typed', () => {
    const { vault, kept } = newVault({ passphrase: 'caf\u00e9' })
    const sealed = vault.seal('a', Buffer.from('b'))
    assert.equal(openVault({ passphrase: 'cafe\u0301' }, kept).open('a', sealed).toString(), 'b')
  })

  it('finds every changed bit, every missing byte and a value at another place, and names the place', () => {
    const { vault } = newVault({ passphrase: 'x' })
    const sealed = vault.seal('message 7', Buffer.from('text'))
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed)
      changed[at] = (changed[at] as number) ^ 1
      assert.throws(() => vault.open('message 7', changed), hasCode('corrupt', /message 7/), `byte ${at}`)
      assert.throws(() => vault.open('message 7', sealed.subarray(0, at)), hasCode('corrupt', /message 7/))
    }
    assert.throws(() => vault.open('message 8', sealed), hasCode('corrupt', /message 8/))
    assert.throws(() => newVault({ passphrase: 'x' }).vault.open('message 7', sealed), hasCode('corrupt'))
  })

  it('refuses another passphrase, another key file, one of another length and one that is gone', () => {
    const keyFile = join(folder, 'key')
    const other = join(folder, 'other')
    const short = join(folder, 'short')
    writeFileSync(other, randomBytes(32))
    writeFileSync(short, randomBytes(31))
    const byPassphrase = newVault({ passphrase: 'right' }).kept
    const byFile = newVault({ keyFile }).kept
    const wrong: [Unlock, Buffer, RegExp][] = [
      [{ passphrase: 'wrong' }, byPassphrase, /passphrase is wrong/],
      [{ passphrase: '' }, byPassphrase, /passphrase is wrong/],
      [{ passphrase: 'right' }, byFile, /passphrase is wrong/],
      [{ keyFile }, byPassphrase, /does not fit/],
      [{ keyFile: other }, byFile, /does not fit/],
      [{ keyFile: short }, byFile, /32 bytes/],
      [{ keyFile: join(folder, 'gone') }, byFile, /cannot be read/],
    ]
    for (const [unlock, kept, sentence] of wrong) {
      assert.throws(() => openVault(unlock, kept), hasCode('wrong_passphrase', sentence), String(sentence))
    }
    assert.ok(openVault({ keyFile }, byFile))
  })

  it('makes a key file for its owner alone, and never writes over one', () => {
    const keyFile = join(folder, 'made')
    newVault({ keyFile })
    const made = readFileSync(keyFile)
    assert.equal(made.length, 32)
    assert.equal(statSync(keyFile).mode & 0o777, 0o600)
    newVault({ keyFile })
    assert.deepEqual(readFileSync(keyFile), made)
  })

  it('of a client: the wrong passphrase leaves everything as it is and gives the folder back', async () => {
    const at = { folder: join(folder, 'client'), url: 'http://127.0.0.1:9' }
    await openClient({ ...at, unlock: { passphrase: 'right' } }).close()
    const open = (passphrase: string) => openClient({ ...at, unlock: { passphrase } })
    for (let i = 0; i < 2; i++) assert.throws(() => open('wrong'), hasCode('wrong_passphrase', /wrong/))
    await open('right').close()
    assert.equal(statSync(at.folder).mode & 0o777, 0o700)
  })
})
