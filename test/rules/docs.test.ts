import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { dependencyDocument, docsFaults, walkDocument } from './docs.ts'
import { plant, readTree, type Tree } from './tree.ts'

const record = '# A broker\n\n## Context\n\nx\n\n## Decision\n\nx\n\n## Consequences\n\nx\n'
const results = { window10: { heliograph: { msgPerS: [228_313, 0.3944], idleKiB: 13.6 }, date: '2026-01-01' } }
const figureLine = 'Window 10: [228,000 messages a second at 0.39 s](bench/results/a.json), 14 KiB.\n'
const readme = [
  '# Heliograph',
  'Run `npm ci && npm start`, then `npm ci && npm test`, or npm run demo. See [records](docs/adr/).',
  '[walk](docs/message-walk.md#four-steps), [web](https://example.org/x), ![plot](bench/results/a.svg)',
  '```md\n[not a link](nowhere.md)\n```',
].join('\n')

const sound: Tree = new Map(
  Object.entries({
    'README.md': `${readme}\n${figureLine}`,
    'bench/results/a.json': JSON.stringify({ ...results, windows: [10] }),
    'bench/results/a.svg': '<svg/>',
    'docs/adr/0001-a-broker.md': record,
    'docs/message-walk.md': '# Walk\n\n## Four steps\n\n1. `plugins/ingress.ts` `onPublish()`, then `drain()`\n',
    'docs/dependencies.md':
      '# Packages\n\n| package | why | without it |\n|---|---|---|\n' +
      '| `aedes` | speaks the protocol | we would write a parser |\n' +
      '| `mocha` | runs the tests | another test runner |\n',
    'plugins/ingress.ts': 'export function onPublish(): void {\n  drain()\n}\nconst drain = (): void => {}\n',
    'package.json': JSON.stringify({
      scripts: { start: '', test: '', demo: '' },
      dependencies: { aedes: '1.2.0' },
      devDependencies: { mocha: '12.0.3' },
    }),
  }),
)

function assertOneFault(files: Record<string, string>, expected: RegExp): void {
  const faults = docsFaults(plant(sound, files))
  assert.equal(faults.length, 1, `expected one fault, got ${JSON.stringify(faults)}`)
  assert.match(faults[0] ?? '', expected)
}

function without(path: string): Tree {
  return new Map([...sound].filter(([each]) => each !== path))
}

function withLine(line: string): Record<string, string> {
  return { 'README.md': `${readme}\n${figureLine}${line}\n` }
}

describe('the documents', () => {
  it('say nothing that the repository does not bear out', () => {
    const tree = readTree(fileURLToPath(new URL('../..', import.meta.url)))
    assert.equal(docsFaults(tree).join('\n'), '')
  })
})

describe('the rules of documents', () => {
  it('find nothing in a sound tree', () => {
    assert.deepEqual(docsFaults(sound), [])
  })

  it('refuse a link to nothing, relative to the document that has it', () => {
    assertOneFault({ 'docs/a.md': '# A\n[b](dependencies.md) [c](README.md)\n' }, /docs\/a\.md links to README\.md/)
    assertOneFault({ 'docs/a.md': '# A\n[b]\n\n[b]: ../gone/\n' }, /links to \.\.\/gone\//)
    assertOneFault(withLine('[walk](docs/message-walk.md#five-steps)'), /#five-steps: no such heading/)
  })

  it('refuse a command that package.json does not have', () => {
    assertOneFault({ 'docs/a.md': '# A\n```sh\nnpm run deploy -- --now\n```\n' }, /docs\/a\.md says "npm run deploy"/)
  })

  it('refuse a decision record without its parts or its number', () => {
    const halved = record.replace('## Decision\n', '')
    assertOneFault({ 'docs/adr/0002-b.md': halved }, /0002-b\.md has no part called Decision/)
    assertOneFault({ 'docs/adr/why.md': record }, /why\.md is not named/)
  })

  it('refuse a walk past a file or function that is gone', () => {
    const walk = (text: string): Record<string, string> => ({ [walkDocument]: `# Walk\n\n## Four steps\n\n${text}\n` })
    assertOneFault(walk('`plugins/ingress.ts` `onPublish()` `plugins/gone.ts`'), /names plugins\/gone\.ts, which/)
    assertOneFault(walk('`plugins/ingress.ts` `onPublish()` `onGone()`'), /plugins\/ingress\.ts has no onGone\(\)/)
    assertOneFault(walk('`plugins/ingress.ts` `onPublish()`\n\n`drain()`'), /drain\(\) without its file/)
    assertOneFault(walk('`plugins/ingress.ts`'), /names no function/)
    assert.match(docsFaults(without(walkDocument)).join(), /message-walk\.md does not exist/)
  })

  it('take a call or a comment for no declaration, but a method or a property for one', () => {
    const walk = { [walkDocument]: '# Walk\n## Four steps\n`core/a.ts` `append()`\n' }
    const fault = /core\/a\.ts has no append\(\)/
    assertOneFault({ ...walk, 'core/a.ts': '// function append()\nappend()\nreturn intake.append(1)\n' }, fault)
    for (const source of [
      'return {\n  async append(a: number) {\n',
      '{ append: (a) => a }',
      'class A { append: async () => {}',
    ]) {
      assert.deepEqual(docsFaults(plant(sound, { ...walk, 'core/a.ts': source })), [])
    }
  })

  it('refuse a package without a row, a row without a package, a row without a reason', () => {
    const table = sound.get(dependencyDocument) ?? ''
    assertOneFault({ [dependencyDocument]: table.replace('`mocha`', 'mocha') }, /not have one row for mocha/)
    assertOneFault(
      { [dependencyDocument]: `${table}| \`ws\` | carries web sockets | own framing |\n` },
      /ws is not used/,
    )
    assertOneFault({ [dependencyDocument]: table.replace('runs the tests', '') }, /gives no reason for mocha/)
    assert.match(docsFaults(without(dependencyDocument)).join(), /dependencies\.md does not exist/)
  })

  it('refuse a package that is not pinned and a list that is not sorted', () => {
    const json = sound.get('package.json') ?? ''
    assertOneFault({ 'package.json': json.replace('1.2.0', '^1.2.0') }, /does not pin aedes/)
    const two = json.replace('"mocha"', '"mocha":"12.0.3","aedes"').replace('"dependencies":{"aedes":"1.2.0"},', '')
    assertOneFault({ 'package.json': two }, /does not sort its devDependencies/)
  })

  it('refuse a README that is missing, lacks a command or shows no figures', () => {
    assert.match(docsFaults(without('README.md')).join(), /README\.md does not exist/)
    const text = sound.get('README.md') ?? ''
    assertOneFault({ 'README.md': text.replace('npm ci && npm test', 'npm test') }, /does not say: npm ci && npm test/)
    assertOneFault({ 'README.md': readme.replace('![plot](bench/results/a.svg)', '') }, /links to no figures/)
  })

  it('refuse a figure that its result file does not have, at the precision printed', () => {
    for (const number of ['228,300', '228k', '0.394', '13.6', '10']) {
      assert.deepEqual(docsFaults(plant(sound, withLine(`${number} [x](bench/results/a.json)`))), [], number)
    }
    for (const number of ['228,400', '229k', '0.40', '13.5', '11', '200,000', '0.3']) {
      assertOneFault(withLine(`${number} [x](bench/results/a.json)`), new RegExp(`prints ${number}, which is not in`))
    }
  })
})
