import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const topics = fileURLToPath(new URL('../../topics', import.meta.url))
const baseline = join(topics, 'wire.baseline.binpb')
const program = createRequire(import.meta.url).resolve('@bufbuild/buf/bin/buf')

/** Runs buf; needs neither network nor git. */
function buf(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', cwd: topics })
  return { status, output: stdout + stderr }
}

/** Runs `check` on a copy of the schema in which `from` became `to`. */
function withChange(from: string, to: string, check: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-wire-'))
  try {
    for (const name of ['wire.proto', 'buf.yaml']) cpSync(join(topics, name), join(folder, name))
    const text = readFileSync(join(folder, 'wire.proto'), 'utf8')
    assert.equal(text.split(from).length, 2, `${from} stands once in wire.proto`)
    writeFileSync(join(folder, 'wire.proto'), text.replace(from, to))
    check(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe('wire.proto', () => {
  it('is lint-free', () => {
    assert.deepEqual(buf('lint', topics), { status: 0, output: '' })
  })

  it('breaks nothing that was agreed', () => {
    assert.deepEqual(buf('breaking', topics, '--against', baseline), { status: 0, output: '' })
  })

  it('is all in the baseline', () => {
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-wire-'))
    try {
      const image = join(folder, 'image.binpb')
      assert.deepEqual(buf('build', topics, '--exclude-source-info', '-o', image), { status: 0, output: '' })
      assert.ok(readFileSync(image).equals(readFileSync(baseline)), 'make the baseline anew: see topics/buf.yaml')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  const breaks = [
    [
      'another type',
      'uint64 stamp = 1;                // [S] names',
      'uint32 stamp = 1; // names',
      /"stamp".*changed type/,
    ],
    ['another name', 'uint64 after_seq = 13;', 'uint64 seen_seq = 13;', /"13".*changed (JSON )?name/],
    ['a field that is gone', 'uint32 expires_in_s = 12;', '', /"12".*was deleted/],
    ['a member that leaves its oneof', 'RawMessage raw = 4; ', '} RawMessage raw = 4; oneof rest {', /"raw".*oneof/],
    ['a number that is no longer reserved', 'reserved 6, 14, 15;', 'reserved 14, 15;', /reserved range/],
    ['a value of an enum that is gone', 'URGENCY_LOW = 2;', '', /"2".*was deleted/],
  ] as const
  for (const [what, from, to, message] of breaks) {
    it(`is guarded against ${what}`, () => {
      withChange(from, to, (folder) => {
        const { status, output } = buf('breaking', folder, '--against', baseline)
        assert.notEqual(status, 0)
        assert.match(output, message)
      })
    })
  }

  it('is guarded against a name of bad style', () => {
    withChange('uint64 after_seq = 13;', 'uint64 afterSeq = 13;', (folder) => {
      assert.match(buf('lint', folder).output, /"afterSeq" should be lower_snake_case/)
    })
  })
})
