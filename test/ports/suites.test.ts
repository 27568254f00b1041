/** Every port has one suite, and every adapter passes it: README.md beside this says which test runs which. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
/** No storage of anybody. */
const NO_ADAPTERS = ['now', 'log']

/** Names of the ports as everybody is given them. */
function portsOf(source: string): string[] {
  const [, members = ''] = /^export interface Ports \{\n([^}]+)\}/m.exec(source) ?? []
  return [...members.matchAll(/readonly (\w+):/g)]
    .map(([, name = '']) => name)
    .filter((name) => !NO_ADAPTERS.includes(name))
}

/** Port, test of the embedded profile, test of the cluster. */
function rowsOf(page: string): [string, string, string][] {
  return [...page.matchAll(/^\| (\w+) \| ([\w-]+\.test\.ts): [^|]+ \| ([\w-]+\.test\.ts): [^|]+ \|$/gm)].map(
    ([, port = '', embedded = '', cluster = '']) => [port, embedded, cluster],
  )
}

describe('the suites of the ports', () => {
  const rows = rowsOf(read('README.md'))

  it('are one for each port', () => {
    assert.deepEqual(rows.map(([port]) => port).sort(), portsOf(read('../../core/ports.ts')).sort())
    for (const [port] of rows) assert.match(read(`${port}.ts`), new RegExp(`^export function ${port}Suite\\(`, 'm'))
  })

  for (const [port, ...tests] of rows) {
    it(`run on the adapters of both profiles: ${port}`, () => {
      for (const test of tests) {
        const path = [test, `../cluster/${test}`].find((each) => existsSync(new URL(each, import.meta.url)))
        assert.ok(path, `${test} is not there`)
        assert.match(read(path), new RegExp(`^  ${port}Suite\\(open`, 'm'), `${test} does not run it`)
      }
    })
  }
})
