/**
 * `node topics/write-reference.ts` writes README.md and asyncapi.yaml beside this file; with `--check` it writes
 * nothing and fails when one of them is not what the tables say. An entry point: nothing imports it.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { asyncapiDocument, yamlText } from './asyncapi.ts'
import { referenceText } from './reference.ts'

const files: readonly (readonly [name: string, text: string])[] = [
  ['README.md', referenceText()],
  ['asyncapi.yaml', yamlText(asyncapiDocument())],
]

function currentText(url: URL): string | undefined {
  try {
    return readFileSync(url, 'utf8')
  } catch {
    return undefined
  }
}

const isCheck = process.argv.includes('--check')
for (const [name, text] of files) {
  const url = new URL(name, import.meta.url)
  if (currentText(url) === text) continue
  if (isCheck) {
    console.error(`topics/${name} is not what the tables say: run node topics/write-reference.ts`)
    process.exitCode = 1
  } else writeFileSync(url, text)
}
