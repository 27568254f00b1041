/**
 * The fuzz lane of the HTTP API: `node test/fuzz/http.ts [--seconds 60] [--seed 7]`. Schemathesis reads /docs/json of a
 * real node and asks every operation what its schema allows and what it does not. An answer of 5xx, an answer that the
 * document does not know and an error in the node's log are findings, and end the run with 1.
 */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ADMIN_TOKEN, startTestNode, type TestNode } from '../api/node.ts'
import { register } from '../world/person.ts'

const VERSION = '4.32.5'
/** Beside what npm keeps for tools; made once. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/heliograph', import.meta.url))
/** Longer than a link is waited for. */
const REQUEST_TIMEOUT_S = 30
/** Not `unsupported_method`: Fastify answers QUERY with 400. */
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'missing_required_header',
  'allow_header_conformance',
  'ignored_auth',
].join(',')
/** What bounds honest clients would only answer 429 here. */
const WIDE = {
  CODES_PER_MINUTE_MAX: '1000000',
  CODES_PER_ADDRESS_PER_HOUR_MAX: '1000000',
  CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX: '1000000',
  LINKS_PER_ADDRESS_PER_HOUR_MAX: '1000000',
}
/** The token that asks ends with them, or they wait for 20 s when there is something to wait for. */
const APART = ['DELETE /v1/account', 'POST /v1/identity', 'POST /v1/tokens', 'GET /v1/links/{link}']

interface Pass {
  readonly name: string
  /** Of the time of the run. */
  readonly share: number
  readonly token: string
  readonly filters: readonly string[]
}

function run(program: string, args: readonly string[]): void {
  const { status, error }: SpawnSyncReturns<Buffer> = spawnSync(program, args, { stdio: ['ignore', 2, 2] })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}`)
}

/** Schemathesis in a Python environment of its own. A half-made one is made anew. */
function installed(): string {
  const folder = join(CACHE, `schemathesis-${VERSION}`)
  const program = join(folder, 'bin', 'schemathesis')
  if (existsSync(program) && spawnSync(program, ['--version']).status === 0) return program
  console.log(`installing schemathesis ${VERSION}`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(CACHE, { recursive: true })
  run('python3', ['-m', 'venv', folder])
  run(join(folder, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${VERSION}`])
  return program
}

const include = (operations: readonly string[]): string[] => operations.flatMap((name) => ['--include-name', name])

async function passesFor(node: TestNode): Promise<Pass[]> {
  const [ann, eve] = [await register(node, '+447700900001'), await register(node, '+447700900002')]
  return [
    {
      name: 'as a device',
      share: 0.65,
      token: ann.token,
      filters: [...APART.flatMap((name) => ['--exclude-name', name]), '--exclude-path-regex', '^/v1/admin'],
    },
    { name: 'what ends a token, or waits', share: 0.15, token: eve.token, filters: include(APART) },
    { name: 'as the admin', share: 0.2, token: ADMIN_TOKEN, filters: ['--include-path-regex', '^/v1/admin'] },
  ]
}

/** True: nothing was found. */
async function runPass(program: string, node: TestNode, pass: Pass, seconds: number, seed: string): Promise<boolean> {
  console.log(`\n${pass.name}`)
  const logged = node.logged.length
  const args = [
    ...['run', `${node.url}/docs/json`, '--seed', seed, '--max-time', String(Math.max(1, Math.round(seconds)))],
    ...['--header', `Authorization: Bearer ${pass.token}`, '--request-timeout', String(REQUEST_TIMEOUT_S)],
    ...['--checks', CHECKS, '--generation-database', 'none', '--no-color', '--warnings', 'off'],
    ...['--suppress-health-check', 'all', '--workers', '2'],
    ...pass.filters,
  ]
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: node.folder })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const errors = node.logged.slice(logged).filter(({ level }) => level === 'error')
  for (const { facts, text } of errors.slice(0, 20)) console.error(`logged: ${text} ${JSON.stringify(facts)}`)
  return code === 0 && errors.length === 0
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    },
  })
  console.log(`seed ${values.seed}`)
  const program = installed()
  const node = await startTestNode(WIDE)
  let failed = 0
  const passes = await passesFor(node)
  for (const pass of passes) {
    if (!(await runPass(program, node, pass, Number(values.seconds) * pass.share, values.seed))) failed++
  }
  await node.stop()
  console.log(`${passes.length - failed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}

await main()
