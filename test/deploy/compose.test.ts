/** deploy/compose.yaml without Docker: what it says is what the program and its start-up checks ask for. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import { readConfig } from '../../core/config.ts'
import { settingRows } from '../../core/settings.ts'
import { startTestNode } from '../api/node.ts'

interface Service {
  readonly image: string
  readonly command?: readonly string[]
  readonly environment?: Record<string, string>
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean }
  readonly depends_on?: Record<string, { readonly condition: string }>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly networks: readonly string[] | Record<string, { readonly ipv4_address: string }>
}
interface Compose {
  readonly services: Record<string, Service>
  readonly volumes: Record<string, null>
}

const FOLDER = new URL('../../deploy/', import.meta.url)
const text = readFileSync(new URL('compose.yaml', FOLDER), 'utf8')
const { services, volumes } = parse(text, { merge: true }) as Compose
const all = Object.entries(services)
const nodes = all.filter(([, { image }]) => image === 'heliograph')
const brokers = nodes.filter(([, { command }]) => command === undefined)
const SECRETS = ['ADMIN_TOKEN', 'OBSERVER_PASSWORD', 'PHONE_KEY', 'POSTGRES_PASSWORD', 'REDIS_PASSWORD']

/** As Compose fills it in, with `.env` as given. */
function filled(value: string, env: Readonly<Record<string, string>>): string {
  return value.replace(/\$\{(\w+)(?::([?-])([^}]*))?\}/g, (_, name: string, kind: string, word: string) => {
    const found = env[name] ?? ''
    if (found !== '') return found
    if (kind === '?') throw new Error(`${name}: ${word}`)
    return word
  })
}

const settingsOf = ({ environment = {} }: Service, env: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, filled(value, env)]))

describe('deploy/compose.yaml', () => {
  const env = Object.fromEntries(SECRETS.map((name) => [name, `${name.toLowerCase()}-of-the-test`]))

  it('has two brokers and two workers, whose settings are settings and go together', () => {
    assert.deepEqual(
      nodes.map(([name]) => name),
      ['broker1', 'broker2', 'worker1', 'worker2'],
    )
    const known = new Set<string>(Object.values(settingRows).map((row) => row.env))
    for (const [name, service] of nodes) {
      const settings = settingsOf(service, env)
      for (const setting of Object.keys(settings)) assert.ok(known.has(setting), `${name}: ${setting} is no setting`)
      const config = readConfig(settings)
      assert.equal(config.nodeName, name)
      assert.equal(config.redisUrl?.reveal(), 'redis://:redis_password-of-the-test@redis:6379')
      // Without a name of its own a broker would take the turns itself.
      if (service.command === undefined) assert.equal(config.workersInline, false)
      else assert.ok(existsSync(new URL(`../${service.command[1]}`, FOLDER)))
    }
  })

  it('starts nothing without each of its secrets, and has none itself', () => {
    for (const secret of SECRETS) {
      const { [secret]: _, ...rest } = env
      assert.throws(() => all.forEach(([, service]) => void settingsOf(service, rest)), new RegExp(secret))
    }
    for (const [, match = ''] of text.matchAll(/(?:PASSWORD|TOKEN|KEY): (.*)$/gm)) assert.match(match, /^\$\{\w+:\?/)
  })

  it('pins every image, and builds ours from the Dockerfile', () => {
    for (const [name, { image }] of all) {
      if (image !== 'heliograph') assert.match(image, /^\w+:\d+\.\d+(\.\d+)?(-\w+)?$/, name)
    }
    assert.ok(existsSync(new URL('Dockerfile', FOLDER)))
  })

  it('sets Redis as start-up demands it', () => {
    const command = services['redis']?.command?.join(' ') ?? ''
    for (const flag of ['appendonly yes', 'appendfsync always', 'maxmemory-policy noeviction', 'requirepass']) {
      assert.ok(command.includes(`--${flag}`), flag)
    }
    assert.match(command, /--maxmemory \d+gb/)
  })

  it('waits for engines that answer, keeps what they hold, and names volumes that are there', () => {
    for (const engine of ['redis', 'postgres', 'cassandra']) {
      const { healthcheck, volumes: kept = [] } = services[engine] as Service
      assert.ok(healthcheck?.test !== undefined, engine)
      assert.ok(kept[0]?.startsWith(`${engine}:/`), engine)
      for (const [name, node] of nodes) assert.equal(node.depends_on?.[engine]?.condition, 'service_healthy', name)
    }
    for (const [, { volumes: kept = [] }] of all) {
      for (const volume of kept) {
        const [from = ''] = volume.split(':')
        if (from.startsWith('.')) assert.ok(existsSync(new URL(from, FOLDER)), from)
        else assert.ok(from in volumes, from)
      }
    }
  })

  it('opens nothing to the world, and HAProxy leads to the brokers where they are', () => {
    for (const [, { ports = [] }] of all) for (const port of ports) assert.match(port, /^127\.0\.0\.1:/)
    const lines = readFileSync(new URL('haproxy.cfg', FOLDER), 'utf8').matchAll(/^ +server \w+ ([\d.]+):\d+/gm)
    const led = new Set([...lines].map(([, address]) => address))
    const there = brokers.map(([, { networks }]) => Object.values(networks)[0]?.ipv4_address)
    assert.deepEqual([...led].sort(), there)
  })

  it('asks a broker whether it is ready in a way that it answers', async () => {
    const node = await startTestNode({ HTTP_PROXY_PROTOCOL: 'yes' })
    const [, program = '', ...args] = brokers[0]?.[1].healthcheck?.test ?? []
    assert.equal(program, 'node')
    const { port } = new URL(node.url)
    const ask = (at: string) => {
      const own = args.map((arg) => arg.replace('8080', at))
      return promisify(execFile)(process.execPath, own, { cwd: fileURLToPath(FOLDER) })
    }
    await ask(port)
    await node.stop()
    await assert.rejects(ask(port), { code: 1 })
  })
})
