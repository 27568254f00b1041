/** The table of docs/operations.md that leads an operator to a message: its keys, tables and files are those there are. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { MIGRATIONS } from '../../adapters/cassandra/schema.ts'
import { deadKeys, deviceKey, floorKey, fullKeys, KEY_PREFIX, rowsKey, shardKeys } from '../../adapters/redis/keys.ts'
import { claimsKey } from '../../adapters/redis/lost-claims.ts'
import { lineChannel } from '../../adapters/redis/node-channel.ts'
import { seqToUnixMs } from '../../topics/ids.ts'

const root = new URL('../../', import.meta.url)
const text = readFileSync(new URL('docs/operations.md', root), 'utf8')
const [, part = ''] = text.split('### A message has its first tick and not its second')
const rows =
  part
    .split('\n### ')[0]
    ?.split('\n')
    .filter((line) => /^\| \d/.test(line)) ?? []
const table = rows.join('\n')

describe('the table of what to look at when a message is not delivered', () => {
  it('names keys, channels and tables that there are', () => {
    const [letters, , order] = deadKeys(KEY_PREFIX)
    const [full] = fullKeys(KEY_PREFIX)
    const state = shardKeys(KEY_PREFIX, 3).state.replace('3', '$s')
    const ofDevice = [deviceKey(KEY_PREFIX, 'DEVICE'), rowsKey(KEY_PREFIX, 'DEVICE')]
    const keys = [letters, order, full, state, ...ofDevice, floorKey(KEY_PREFIX), claimsKey(KEY_PREFIX)]
    for (const key of [...keys, lineChannel(KEY_PREFIX, 'NODE')]) assert.ok(table.includes(key), key)
    const tables = [...table.matchAll(/heliograph\.(\w+)/g)].map(([, name]) => name)
    assert.ok(tables.length > 1)
    for (const name of tables) assert.ok(String(MIGRATIONS).includes(`TABLE IF NOT EXISTS ${name} `), name)
  })

  it('turns a number into its time', () => {
    const seq = 983_722_241_114_112
    assert.match(table, /\/ 16384000 \+ 1735689600/)
    assert.equal(Math.floor(seq / 16_384_000) + 1_735_689_600, Math.floor(seqToUnixMs(seq) / 1_000))
  })

  it('names files that there are', () => {
    assert.equal(rows.length, 8)
    const files = [...table.matchAll(/`([a-z]+\/[\w/-]+\.ts)`/g)].map(([, file]) => String(file))
    assert.ok(files.length > 8)
    for (const file of files) assert.ok(existsSync(new URL(file, root)), file)
  })
})
