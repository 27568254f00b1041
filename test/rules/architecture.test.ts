import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { architectureFaults, importsOf } from './architecture.ts'
import { plant, readTree, type Tree } from './tree.ts'

// What people and machines start, beside the scripts of package.json.
/** Programs that a person starts now and then; no script names them. */
const startedByHand = ['test/fuzz/write-corpus.ts']

/** Every source file that a script of package.json starts. */
function scriptEntries(tree: Tree): string[] {
  const { scripts } = JSON.parse(tree.get('package.json') ?? '') as { scripts: Record<string, string> }
  return Object.values(scripts).flatMap((script) => /^node .*?([\w/-]+\.(?:ts|mjs))/.exec(script)?.[1] ?? [])
}

const sound: Tree = new Map(
  Object.entries({
    'adapters/memory/inbox.ts': "import type { Inbox } from '../../core/ports.ts'\nexport const inbox: Inbox = {}\n",
    'adapters/open.ts': "import { inbox } from './memory/inbox.ts'\nexport const open = () => inbox\n",
    'adapters/sqlite/store.ts':
      "import { DatabaseSync } from 'node:sqlite'\nexport const thread = new URL('./writer.ts', import.meta.url)\n",
    'adapters/sqlite/writer.ts': 'export {}\n',
    'broker/broker.ts': "import { Aedes } from 'aedes'\nimport { run } from '../plugins/index.ts'\n",
    'broker/main.ts':
      "import './broker.ts'\nimport { open } from '../adapters/open.ts'\nimport '../adapters/other.ts'\n",
    'adapters/other.ts': "import './open.ts'\n",
    'core/ports.ts': "import { topic } from '../topics/table.ts'\nexport type Inbox = object\n",
    'plugins/index.ts': "import type { Client } from 'aedes'\nimport { topic } from '../topics/table.ts'\n",
    'test/flow.test.ts': "import '../adapters/sqlite/store.ts'\nimport { Aedes } from 'aedes'\n",
    'topics/table.ts': "import { createHash } from 'node:crypto'\nexport const topic = 'd/+/raw/#'\n",
  }),
)
const entries = ['broker/main.ts', 'adapters/sqlite/store.ts']

function assertOneFault(files: Record<string, string>, expected: RegExp): void {
  const faults = architectureFaults(plant(sound, files), entries)
  assert.equal(faults.length, 1, `expected one fault, got ${JSON.stringify(faults)}`)
  assert.match(faults[0] ?? '', expected)
}

describe('the architecture', () => {
  it('holds in this repository: arrows, drivers, cycles, unused files, topics', () => {
    const tree = readTree(fileURLToPath(new URL('../..', import.meta.url)))
    assert.equal(architectureFaults(tree, [...scriptEntries(tree), ...startedByHand]).join('\n'), '')
  })
})

describe('the architecture rules', () => {
  it('find nothing in a sound tree', () => {
    assert.deepEqual(architectureFaults(sound, entries), [])
  })

  const forbidden: [path: string, source: string, fault: RegExp][] = [
    ['topics/table.ts', "import '../core/ports.ts'", /topics\/ may not import from core\//],
    ['core/ports.ts', "import '../plugins/index.ts'", /core\/ may not import from plugins\//],
    ['plugins/index.ts', "import '../workers/index.ts'", /plugins\/ may not import from workers\//],
    ['workers/index.ts', "import '../plugins/index.ts'", /workers\/ may not import from plugins\//],
    ['api/index.ts', "import '../broker/broker.ts'", /api\/ may not import from broker\//],
    ['adapters/other.ts', "import '../broker/broker.ts'", /adapters\/ may not import from broker\//],
    ['broker/broker.ts', "import '../client/index.ts'", /broker\/ may not import from client\//],
    ['client/index.ts', "export * from '../core/ports.ts'", /client\/ may not import from core\//],
    ['core/ports.ts', "const late = await import('../api/index.ts')", /core\/ may not import from api\//],
    ['core/ports.ts', "export type { Api } from '../api/index.ts'", /core\/ may not import from api\//],
  ]
  for (const [path, source, fault] of forbidden) {
    it(`refuse ${path} with ${source}`, () => {
      const targets = { 'api/index.ts': '', 'client/index.ts': '', 'workers/index.ts': '', 'plugins/index.ts': '' }
      const tree = plant(sound, { ...targets, [path]: `${source}\n` })
      const faults = architectureFaults(tree, [...entries, ...Object.keys(targets)])
      assert.ok(
        faults.some((each) => fault.test(each)),
        JSON.stringify(faults),
      )
    })
  }

  it('refuse an adapter that imports another adapter', () => {
    assertOneFault(
      { 'adapters/memory/inbox.ts': "import '../../core/ports.ts'\nimport '../sqlite/store.ts'\n" },
      /inbox\.ts:2 imports .*only adapters\/open\.ts names/,
    )
  })

  it('refuse a broker that names an adapter itself', () => {
    assertOneFault(
      { 'broker/broker.ts': "import '../adapters/sqlite/store.ts'\nimport '../plugins/index.ts'\n" },
      /only/,
    )
  })

  it('refuse an import of a file that is not there', () => {
    assertOneFault({ 'broker/broker.ts': "import './gone.ts'\nimport '../plugins/index.ts'\n" }, /does not exist/)
  })

  it('refuse anything but node:crypto in topics/', () => {
    assertOneFault({ 'topics/table.ts': "import { Buffer } from 'node:buffer'\n" }, /nothing but node:crypto/)
    const writer = { 'topics/write-reference.ts': "import { writeFileSync } from 'node:fs'\n" }
    const tree = plant(sound, writer)
    assert.deepEqual(architectureFaults(tree, [...entries, 'topics/write-reference.ts']), [])
  })

  it('refuse input and output in core/', () => {
    assertOneFault({ 'core/ports.ts': "import { readFileSync } from 'node:fs'\n" }, /no input or output/)
  })

  it('refuse a driver outside its adapter, even for its types', () => {
    for (const name of [
      'ioredis',
      'node:sqlite',
      'cassandra-driver',
      'pg',
      'bullmq',
      '@aws-sdk/client-s3',
      'firebase-admin/app',
      '@signalapp/libsignal-client',
      'mqtt',
    ]) {
      const source = `import './memory/inbox.ts'\nimport type { A } from '${name}'\n`
      assertOneFault({ 'adapters/open.ts': source }, /open\.ts:2 .*that driver belongs to/)
    }
  })

  it('refuse libsignal beside the cryptography of the client, and mqtt.js beside its one connection', () => {
    const home = "import './crypto/cipher.ts'\nimport './transport/mqtt-connection.ts'\n"
    const client = {
      'client/index.ts': home,
      'client/crypto/cipher.ts': "import { Aci } from '@signalapp/libsignal-client'\n",
      'client/transport/mqtt-connection.ts': "import mqtt from 'mqtt'\n",
    }
    const judge = (files: Record<string, string>) =>
      architectureFaults(plant(sound, { ...client, ...files }), [...entries, 'client/index.ts'])
    assert.deepEqual(judge({}), [])
    for (const name of ['@signalapp/libsignal-client', 'mqtt']) {
      const faults = judge({ 'client/index.ts': `${home}import type { A } from '${name}'\n` })
      assert.equal(faults.length, 1)
      assert.match(faults[0] ?? '', /client\/index\.ts:3 .*that driver belongs to client\//)
    }
  })

  it('refuse aedes at run time in plugins/ and in a second file of broker/', () => {
    assertOneFault({ 'plugins/index.ts': "import { type Client } from 'aedes'\n" }, /plugins\/ may know its types/)
    assertOneFault(
      { 'broker/main.ts': `import { Aedes } from 'aedes'\n${sound.get('broker/main.ts')}` },
      /broker\/broker\.ts and broker\/main\.ts: one file/,
    )
  })

  it('refuse a cycle, also one of types only', () => {
    assertOneFault(
      {
        'core/ports.ts': "import type { B } from './plan.ts'\n",
        'core/plan.ts': "import type { A } from './ports.ts'\n",
      },
      /core\/ports\.ts -> core\/plan\.ts -> core\/ports\.ts is a cycle/,
    )
  })

  it('refuse a file that nothing uses and one that only tests use', () => {
    assertOneFault({ 'core/dead.ts': '' }, /core\/dead\.ts is used by nothing/)
    assertOneFault({ 'core/half-dead.ts': '', 'test/a.test.ts': "import '../core/half-dead.ts'\n" }, /by tests only/)
    assertOneFault({ 'test/world.ts': '' }, /test\/world\.ts is used by nothing/)
  })

  it('count a file as used that a literal names by its path', () => {
    const started = { 'test/crash/victim.ts': '', 'test/a.test.ts': "spawn('node', ['test/crash/victim.ts'])\n" }
    assert.deepEqual(architectureFaults(plant(sound, started), entries), [])
  })

  it('refuse an entry point that does not exist', () => {
    assert.match(architectureFaults(sound, [...entries, 'broker/gone.ts']).join(), /broker\/gone\.ts is an entry point/)
  })

  it('refuse a topic spelled outside topics/', () => {
    const spelled = ['`d/${device}/in`', "'/raw/'", "'d/+/from/#'", "'ops/nodes'", "'$SYS/broker/uptime'", "'/out'"]
    for (const literal of [...spelled, '`u/${user}/presence`', '"mosquitto_sub -t d/s1/from/#"']) {
      assertOneFault({ 'core/ports.ts': `export const topic = ${literal}\n` }, /core\/ports\.ts:1 spells the topic/)
    }
  })

  it('leave file paths, HTTP paths and comments alone', () => {
    const harmless =
      "// d/<device>/out\nexport const paths = ['/v1/devices', './plugins/raw.ts', 'id/x/in', 'drops/a']\n"
    assert.deepEqual(architectureFaults(plant(sound, { 'core/ports.ts': harmless }), entries), [])
  })
})

describe('reading imports', () => {
  it('sees every form once, with its line and whether it is gone at run time', () => {
    const source = [
      "import a, { type B } from './a.ts'",
      "import type { C } from 'c'",
      'import {',
      '  d,',
      "} from 'd' // from 'comment'",
      "const e = `${await import('./e.ts')} from './not.ts'`",
      "new Worker(new URL('./f.ts', import.meta.url))",
      "const g: typeof import('g') = new URL('./page.html', import.meta.url)",
      "const h = require('h')",
      "const regex = /from '/, quote = 'import \"h\"'",
    ].join('\n')
    assert.deepEqual(
      importsOf('x/y.ts', source).map(({ specifier, path, line, typeOnly }) => [specifier, path, line, typeOnly]),
      [
        ['./a.ts', 'x/a.ts', 1, false],
        ['c', undefined, 2, true],
        ['d', undefined, 5, false],
        ['./e.ts', 'x/e.ts', 6, false],
        ['./f.ts', 'x/f.ts', 7, false],
        ['g', undefined, 8, true],
        ['h', undefined, 9, false],
      ],
    )
  })
})
