import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { addressOf, asyncapiDocument, type Node, yamlText } from '../../topics/asyncapi.ts'
import { disconnects } from '../../topics/disconnects.ts'
import { errors } from '../../topics/errors.ts'
import { limitTable } from '../../topics/limits.ts'
import { topicRow, topicTable } from '../../topics/table.ts'

interface Channel {
  address: string
  parameters: Record<string, { description: string }>
  messages: Record<string, { $ref: string }>
  'x-bytes-max': number
  'x-who': string[]
}
interface Operation {
  action: string
  channel: { $ref: string }
  messages: { $ref: string }[]
  bindings: { mqtt: { qos: number; retain: boolean } }
}
interface Document {
  channels: Record<string, Channel>
  operations: Record<string, Operation>
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const text = (name: string): string => readFileSync(new URL(`../../topics/${name}`, import.meta.url), 'utf8')
const document = parse(text('asyncapi.yaml')) as Document

/** Checks a document against the schema that the AsyncAPI initiative publishes. */
function asyncapiFaults(given: unknown): string[] {
  const schema = createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false })
  const { $schema: _, ...unnamed } = schema as { $schema?: string }
  const validate = ajv.compile(unnamed)
  validate(given)
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
}

/** What a `$ref` within the document stands for. */
function resolved(ref: string): unknown {
  const names = ref.slice('#/'.length).split('/')
  return names.reduce<unknown>((node, name) => (node as Record<string, unknown> | undefined)?.[name], document)
}

function refsOf(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([key, value]) => (key === '$ref' ? [value as string] : refsOf(value)))
}

describe('the topic table', () => {
  it('gives every topic its own pattern, a sentence, and a retained flag or durability but not both', () => {
    assert.equal(new Set(topicTable.map(({ pattern }) => pattern)).size, topicTable.length)
    for (const row of topicTable) {
      assert.match(row.about, /^[A-Z].+\.$/)
      assert.ok(!(row.durable && row.retained), row.name)
      assert.ok(row.qos === 1 || !row.durable, `${row.name}: what is durable has QoS 1`)
      assert.ok(row.who.length > 0 && row.bytesMax > 0)
      assert.deepEqual(topicRow(row.name as 'out'), row)
    }
  })

  it('lets devices publish only to their own topics, and observers publish nothing', () => {
    for (const row of topicTable.filter(({ direction }) => direction !== 'down')) {
      assert.match(row.pattern, /^d\/<device>\//)
      assert.ok(!row.who.includes('observer'), row.name)
      assert.ok(!row.retained, row.name)
    }
  })

  it('keeps operators’ topics from devices, and devices’ topics from operators', () => {
    for (const { pattern, who } of topicTable) {
      const isOperators = /^(ops|\$SYS)\//.test(pattern)
      assert.equal(who.includes('observer'), isOperators, pattern)
      if (isOperators) assert.deepEqual(who, ['observer'])
    }
  })
})

describe('topics/README.md and topics/asyncapi.yaml', () => {
  it('are what the tables say: else run node topics/write-reference.ts', () => {
    const run = spawnSync(process.execPath, ['topics/write-reference.ts', '--check'], { cwd: root, encoding: 'utf8' })
    assert.deepEqual({ status: run.status, output: run.stderr }, { status: 0, output: '' })
  })

  it('name every topic, error, disconnect and limit', () => {
    const page = text('README.md')
    const names = [errors, disconnects, limitTable].flatMap((each) => Object.keys(each))
    for (const name of [...names, ...topicTable.map(({ pattern }) => pattern)])
      assert.ok(page.includes(`\`${name}\``), name)
  })
})

describe('the AsyncAPI document', () => {
  it('has a channel and an operation for each topic and no others', () => {
    const names = topicTable.map(({ name }) => name)
    assert.deepEqual(Object.keys(document.channels), names)
    assert.deepEqual(Object.keys(document.operations), names)
  })

  for (const row of topicTable) {
    it(`says of ${row.pattern} what the table says`, () => {
      const channel = document.channels[row.name] as Channel
      const operation = document.operations[row.name] as Operation
      assert.equal(channel.address, row.pattern.replaceAll('<', '{').replaceAll('...', '').replaceAll('>', '}'))
      assert.deepEqual(
        Object.keys(channel.parameters),
        [...row.pattern.matchAll(/<(\w+)/g)].map(([, level]) => level),
      )
      assert.ok(Object.values(channel.parameters).every(({ description }) => description.length > 0))
      assert.deepEqual(Object.keys(channel.messages), [row.payload])
      assert.deepEqual([channel['x-bytes-max'], channel['x-who']], [row.bytesMax, row.who])
      assert.equal(operation.action, row.direction === 'down' ? 'send' : 'receive')
      assert.equal(resolved(operation.channel.$ref), channel)
      assert.deepEqual([operation.bindings.mqtt.qos, operation.bindings.mqtt.retain], [row.qos, row.retained])
    })
  }

  it('is valid by the published schema of AsyncAPI 3.0, which finds planted faults', () => {
    assert.deepEqual(asyncapiFaults(document), [])
    assert.notDeepEqual(asyncapiFaults({ ...document, asyncapi: '2.6.0' }), [])
    assert.notDeepEqual(asyncapiFaults({ ...document, channel: {} }), [])
    const operations = { out: { ...document.operations['out'], action: 'publish' } }
    assert.notDeepEqual(asyncapiFaults({ ...document, operations }), [])
  })

  it('refers only to what exists', () => {
    for (const ref of refsOf(document)) {
      if (ref.startsWith('#/')) assert.notEqual(resolved(ref), undefined, ref)
      else assert.ok(existsSync(new URL(`../../topics/${ref}`, import.meta.url)), ref)
    }
  })
})

describe('the YAML writer', () => {
  it('writes what a YAML reader reads back', () => {
    assert.deepEqual(parse(yamlText(asyncapiDocument())), asyncapiDocument())
    const odd: { [key: string]: Node } = {
      yes: 'no',
      'a: b': ['# c', '- d', '', ' ', '12', 'true', "'", '"', 'x\ny', '{}', '3.0.0', '~', 'a:', 'é'],
      nested: { list: [{ a: 1, b: [true, 2] }, [3, 4]], empty: {}, none: [] },
    }
    assert.deepEqual(parse(yamlText(odd)), { ...odd, nested: { ...(odd['nested'] as object), none: {} } })
  })

  it('writes a level as AsyncAPI does', () => {
    assert.equal(addressOf('d/<device>/raw/<to>/<n>'), 'd/{device}/raw/{to}/{n}')
    assert.equal(addressOf('$SYS/broker/<name...>'), '$SYS/broker/{name}')
  })
})
