/** docs/sdk.md: its example runs as it stands, and its table is the catalogue. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clientErrors } from '../../client/faults.ts'
import { TEXT_BYTES_MAX } from '../../client/talk.ts'
import { limits } from '../../topics/limits.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { codeOf } from '../world/person.ts'

const document = readFileSync(new URL('../../docs/sdk.md', import.meta.url), 'utf8')
const SDK = new URL('../../client/index.ts', import.meta.url).href

/** Replaces what stands there once. */
function put(program: string, from: string, to: string): string {
  assert.equal(program.split(from).length, 2, `${from} is not in the example once`)
  return program.replace(from, () => to)
}

describe('docs/sdk.md', () => {
  let node: TestNode
  let folder: string
  before(async () => {
    node = await startTestNode()
    folder = mkdtempSync(join(tmpdir(), 'heliograph-doc-'))
  })
  after(async () => {
    await node.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Runs the example; every question for a code is answered with the code that was sent. */
  async function run(): Promise<{ output: string; code: number | null }> {
    const [example = '', ...more] = [...document.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block = '']) => block)
    assert.equal(more.length, 0, 'there is one example')
    let program = put(example, './client/index.ts', SDK)
    program = put(program, 'http://127.0.0.1:8080', node.url)
    program = put(program, "'./people'", JSON.stringify(join(folder, 'people')))
    const file = join(folder, 'example.ts')
    writeFileSync(file, program)
    const child = spawn(process.execPath, [file], { stdio: ['pipe', 'pipe', 'pipe'], cwd: folder })
    let output = ''
    let asked = 0
    const take = (text: string) => {
      output += text
      const questions = [...output.matchAll(/The code that (\S+) got: /g)]
      for (const [, phone = ''] of questions.slice(asked)) child.stdin.write(`${codeOf(node.folder, phone)}\n`)
      asked = questions.length
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    const late = setTimeout(() => child.kill('SIGKILL'), 18_000)
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    clearTimeout(late)
    return { output, code }
  }

  it('has an example that runs as it stands: two people register, talk, and see ticks and the same digits', async () => {
    const { output, code } = await run()
    const said = output.replaceAll(/The code that \S+ got: /g, '')
    assert.equal(code, 0, output)
    // Two clients in one program: what bob and alice read is in no order to the ticks.
    for (const line of [
      'it is waiting',
      'bob reads: hello bob',
      'alice reads: you said: hello bob',
      '> hello bob (read)',
    ]) {
      assert.ok(said.includes(`${line}\n`), output)
    }
    assert.ok(said.endsWith('< you said: hello bob\nthe same digits: true\n'), output)
  })

  it('and it runs again, with the people who are there', async () => {
    const { output, code } = await run()
    assert.equal(code, 0, output)
    assert.doesNotMatch(output, /The code/)
    assert.match(output, /the same digits: true\n$/)
  })

  it('has every error of the SDK, as the catalogue has it', () => {
    const rows = [...document.matchAll(/^\| `(\w+)` \| (later|never) \| (.*) \|$/gm)]
    assert.deepEqual(
      rows.map(([, code, retry, about]) => [code, retry, about]),
      Object.entries(clientErrors).map(([code, { retry, about }]) => [code, retry, about]),
    )
  })

  it('says the bounds as they are', () => {
    assert.ok(document.includes(`at most ${TEXT_BYTES_MAX / 1_024} KiB`))
    assert.ok(document.includes(`fewer than ${limits.prekeysLow} of a kind`))
  })
})
