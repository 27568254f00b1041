/**
 * The corpus: for each target a file of seeds and, beside it, one file for each input that was a finding once. All of
 * them are hex, inputs apart by an empty line, with a line that says what they are.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface Seed {
  readonly name: string
  readonly bytes: Buffer
}

const FOLDER = fileURLToPath(new URL('./corpus', import.meta.url))
const HEX_COLUMNS = 112

export function readSeeds(text: string): Seed[] {
  return text.split('\n\n').flatMap((block) => {
    const lines = block.split('\n').filter((line) => line !== '')
    if (lines.length === 0) return []
    const name = lines[0]?.startsWith('# ') === true ? (lines.shift() as string).slice(2) : ''
    return [{ name, bytes: Buffer.from(lines.join(''), 'hex') }]
  })
}

export function seedText({ name, bytes }: Seed): string {
  const lines = bytes.toString('hex').match(new RegExp(`.{1,${HEX_COLUMNS}}`, 'g')) ?? []
  return `${[`# ${name}`, ...lines].join('\n')}\n`
}

/** Everything known of a target: seeds and findings of the past. */
export function readCorpus(target: string): Seed[] {
  const folder = `${FOLDER}/${target}`
  return readdirSync(folder)
    .toSorted()
    .flatMap((name) => readSeeds(readFileSync(`${folder}/${name}`, 'utf8')))
}

export function writeSeeds(target: string, seeds: readonly Seed[]): void {
  mkdirSync(`${FOLDER}/${target}`, { recursive: true })
  writeFileSync(`${FOLDER}/${target}/seeds.hex`, seeds.map(seedText).join('\n'))
}

/** Keeps an input that was a finding; gives its file, relative to the project. */
export function keepFinding(target: string, what: string, bytes: Buffer): string {
  const name = `crash-${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}.hex`
  mkdirSync(`${FOLDER}/${target}`, { recursive: true })
  writeFileSync(`${FOLDER}/${target}/${name}`, seedText({ name: what.split('\n')[0]?.slice(0, 100) ?? '', bytes }))
  return `test/fuzz/corpus/${target}/${name}`
}
