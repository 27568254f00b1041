import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { tidyFaults, tidyLimits } from './tidy.ts'
import { plant, readTree, type Tree } from './tree.ts'

const sound: Tree = new Map(
  Object.entries({
    'README.md': '# Heliograph\n\n```sh\n# not a title\n```\n\n## Try it\n',
    'docs/adr/0001-a-broker.md': '# A broker\n',
    'core/fan-out.ts': '// any comment\nexport const text = "any"\nexport const first = Promise.any([])\n',
    'test/core/fan-out.test.ts': "describe('x', () => {\n  it('skips', () => {})\n})\n",
    'topics/wire.proto': 'syntax = "proto3";\n',
  }),
)

function linesOf(count: number, line = 'void 0'): string {
  return `${line}\n`.repeat(count)
}

function assertOneFault(files: Record<string, string>, expected: RegExp): void {
  const faults = tidyFaults(plant(sound, files))
  assert.equal(faults.length, 1, `expected one fault, got ${JSON.stringify(faults)}`)
  assert.match(faults[0] ?? '', expected)
}

function assertSound(files: Record<string, string>): void {
  assert.deepEqual(tidyFaults(plant(sound, files)), [])
}

describe('the repository', () => {
  it('is tidy: sizes, names, types, exports, documents', () => {
    const tree = readTree(fileURLToPath(new URL('../..', import.meta.url)))
    assert.equal(tidyFaults(tree).join('\n'), '')
  })
})

describe('the tidy rules', () => {
  it('find nothing in a sound tree', () => {
    assert.deepEqual(tidyFaults(sound), [])
  })

  it('refuse a file that is one line too long, a longer one in test/ and bench/', () => {
    const { fileLinesMax, testFileLinesMax } = tidyLimits
    assertSound({ 'core/a.ts': linesOf(fileLinesMax), 'bench/a.ts': linesOf(testFileLinesMax) })
    assertOneFault({ 'core/a.ts': linesOf(fileLinesMax + 1) }, /core\/a\.ts has 301 lines of 300/)
    assertOneFault({ 'test/a.ts': linesOf(testFileLinesMax + 1) }, /test\/a\.ts has 601 lines of 600/)
  })

  it('refuse a function that is one line too long, whatever its form', () => {
    const body = linesOf(tidyLimits.functionLinesMax - 2, '  void 0')
    const heads = [
      'function a(b: string) {',
      'export async function a(): Promise<{ b: Map<string, (c: number) => void> }> {',
      'const a = (b: string): void => {',
      'function a(b = ")", { c }: { c: RegExp } = { c: /[{"]/ }) {',
      'class A { b(): void {',
    ]
    for (const head of heads) {
      const end = head.startsWith('class') ? '} }\n' : '}\n'
      assertSound({ 'core/a.ts': `${head}\n${body}${end}` })
      assertOneFault({ 'core/a.ts': `${head}\n${body}  void 0\n${end}` }, /core\/a\.ts:1 is a function of 71 lines/)
    }
  })

  it('count neither blocks nor suites as functions', () => {
    const body = linesOf(tidyLimits.testFunctionLinesMax, '  void 0')
    const block = linesOf(tidyLimits.functionLinesMax, '  void 0')
    assertSound({ 'core/a.ts': `if (1 > 0) {\n${block}}\n`, 'test/a.ts': `describe('a', () => {\n${body}})\n` })
    assertOneFault({ 'test/a.ts': `it('a', () => {\n${body}})\n` }, /is a function of/)
  })

  it('refuse a line that is one column too wide, except in documents', () => {
    const wide = 'x'.repeat(tidyLimits.lineColumnsMax + 1)
    assertSound({ 'core/a.ts': wide.slice(1), 'docs/a.md': `# A\n${wide}\n` })
    assertOneFault({ 'core/a.ts': wide }, /core\/a\.ts:1 has 121 columns of 120/)
    assertOneFault({ 'deploy/a.service': `\n${wide}` }, /deploy\/a\.service:2 has 121/)
  })

  it('refuse the type any wherever it stands, and leave a variable of that name alone', () => {
    assertSound({ 'core/a.ts': 'list.map((any) => write(any, any))\n' })
    for (const type of ['let a: any', 'a as any', 'const a: Map<string, any> = b', 'type A = any[]']) {
      assertOneFault({ 'core/a.ts': `\n${type}\n` }, /core\/a\.ts:2 uses the type any/)
    }
  })

  it('refuse a default export, except in a configuration file', () => {
    assertSound({ 'load.config.ts': 'export default {}\n' })
    assertOneFault({ 'core/a.ts': 'export default 1\n' }, /exports a default/)
    assertOneFault({ 'core/a.ts': 'const a = 1\nexport { a as default }\n' }, /core\/a\.ts:2 exports a default/)
  })

  it('refuse notes of work left undone, in code and in documents', () => {
    for (const word of ['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X']) {
      assertOneFault({ 'core/a.ts': `// ${word}: later\n` }, /core\/a\.ts:1 leaves something undone/)
      assertOneFault({ 'docs/a.md': `# A\n${word}\n` }, /docs\/a\.md:2 leaves something undone/)
    }
  })

  it('refuse tests that are left out or run alone', () => {
    for (const source of ["it.only('a')", "describe.skip('a')", 'this.skip()', "xit('a')"]) {
      assertOneFault({ 'test/a.test.ts': `${source}\n` }, /test\/a\.test\.ts:1 leaves tests out/)
    }
  })

  it('refuse folders named after nothing', () => {
    for (const name of ['utils', 'types', 'helpers', 'common']) {
      assertOneFault({ [`core/${name}/clock.ts`]: '' }, new RegExp(`a folder called ${name} says nothing`))
    }
  })

  it('refuse names that are not lower case with hyphens', () => {
    for (const path of ['core/fanOut.ts', 'core/fan_out.ts', 'core/Plan.ts', 'docs/Walk.md', 'Core/plan.ts']) {
      assertOneFault({ [path]: path.endsWith('.md') ? '# A\n' : '' }, /is not lower case with hyphens/)
    }
  })

  it('refuse a document with no title or two', () => {
    assertOneFault({ 'docs/a.md': '## A\n' }, /docs\/a\.md has 0 titles/)
    assertOneFault({ 'docs/a.md': '# A\n\n# B\n' }, /docs\/a\.md has 2 titles/)
  })

  it("refuse a path of a developer's machine in any file", () => {
    for (const path of ['/ho' + 'me/ann/heliograph', '/ro' + 'ot/.npm', '/Us' + 'ers/bob', 'C:\\Us' + 'ers\\bob']) {
      assertOneFault({ 'deploy/a.sh': `cd ${path}\n` }, /deploy\/a\.sh:1 names a folder of somebody's machine/)
    }
  })

  it('refuse a README of 150 lines and a lock file that names its registry', () => {
    assertSound({ 'README.md': `# A\n${linesOf(tidyLimits.readmeLinesMax - 2, 'text')}` })
    assertOneFault(
      { 'README.md': `# A\n${linesOf(tidyLimits.readmeLinesMax - 1, 'text')}` },
      /README\.md has 150 lines/,
    )
    assertOneFault({ 'package-lock.json': '{ "resolved": "" }' }, /names the registry/)
  })
})
