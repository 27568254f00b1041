/** The rules of a tidy tree: sizes, names, types, leftovers. Pure: a tree of texts in, sentences out. */
import { functionsIn, lineAt, type Scan, scan } from './scan.ts'
import { isCode, type Tree } from './tree.ts'

/**
 * The sizes beyond which a reader loses the thread. test/ may be longer: a suite is one function, and a test's name
 * is a sentence on one line.
 */
export const tidyLimits = {
  fileLinesMax: 300,
  testFileLinesMax: 600,
  functionLinesMax: 70,
  testFunctionLinesMax: 300,
  lineColumnsMax: 120,
  testLineColumnsMax: 140,
  readmeLinesMax: 150,
} as const

const looseFolders = ['utils', 'util', 'types', 'helpers', 'helper', 'common', 'misc']

// Names that tools or custom prescribe; every other file is lower case with hyphens.
const customaryNames =
  /^(README|CHANGELOG|CONTRIBUTING|SECURITY|STYLE)\.md$|^(LICENSE|Dockerfile|Dockerfile\.dockerignore)$|^\.[\w.-]+$/
const kebabName = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*$/

// Where a type may stand; a variable may be called any.
const typeAny = /(?::\s*|\bas\s+|<|[|&]\s*|\btype\s[^=]*=\s*)any\b(?!\s*[:(])|\bany(\[\]|>)/g

// Written so that this file does not find itself.
const leftover = /\b(TO[D]O|FIX[M]E|X{3})\b/
const ownMachine = /(?<![\w.~-])\/(home|root|Users|work)\/[\w.-]|\b[A-Z]:\\Users\\/

/** What in `tree` is untidy, one sentence each. */
export function tidyFaults(tree: Tree): string[] {
  return [...tree].flatMap(([path, text]) => [
    ...nameFaults(path),
    ...textFaults(path, text),
    ...(isCode(path) ? codeFaults(path, text, scan(text)) : []),
    ...(path.endsWith('.md') ? documentFaults(path, text) : []),
    ...(path === 'package-lock.json' && text.includes('"resolved"') ? [`${path} names the registry it came from`] : []),
  ])
}

function nameFaults(path: string): string[] {
  const names = path.split('/')
  const loose = names.slice(0, -1).find((name) => looseFolders.includes(name))
  const odd = names.find((name) => !kebabName.test(name) && !customaryNames.test(name))
  return [
    ...(loose === undefined ? [] : [`${path}: a folder called ${loose} says nothing; name it after its concept`]),
    ...(odd === undefined ? [] : [`${path}: ${odd} is not lower case with hyphens`]),
  ]
}

// LICENSE is not ours to change; results and locks are written by programs.
function textFaults(path: string, text: string): string[] {
  if (path === 'LICENSE' || path === 'package-lock.json' || path.startsWith('bench/results/')) return []
  return text.split('\n').flatMap((line, index) => {
    const at = `${path}:${index + 1}`
    const columnsMax = path.startsWith('test/') ? tidyLimits.testLineColumnsMax : tidyLimits.lineColumnsMax
    const long = line.length > columnsMax && hasColumns(path)
    return [
      ...(long ? [`${at} has ${line.length} columns of ${columnsMax}`] : []),
      ...(leftover.test(line) ? [`${at} leaves something undone`] : []),
      ...(ownMachine.test(line) ? [`${at} names a folder of somebody's machine`] : []),
    ]
  })
}

// Tables of a document and generated JSON are as wide as they are.
function hasColumns(path: string): boolean {
  return !/\.(md|json|jsonl|svg)$/.test(path)
}

function codeFaults(path: string, source: string, scanned: Scan): string[] {
  const lines = source.trimEnd().split('\n').length
  const linesMax = /^(test|bench)\//.test(path) ? tidyLimits.testFileLinesMax : tidyLimits.fileLinesMax
  const functionMax = path.startsWith('test/') ? tidyLimits.testFunctionLinesMax : tidyLimits.functionLinesMax
  const long = functionsIn(scanned).filter((each) => each.lines > functionMax && !isSuite(each.head))
  return [
    ...(lines > linesMax ? [`${path} has ${lines} lines of ${linesMax}`] : []),
    ...long.map((each) => `${path}:${each.firstLine} is a function of ${each.lines} lines`),
    ...found(path, source, scanned, typeAny, 'uses the type any'),
    ...(path.endsWith('.config.ts')
      ? []
      : found(path, source, scanned, /\bexport\s+default\b|\bas\s+default\b/g, 'exports a default')),
    ...(path.startsWith('test/')
      ? found(
          path,
          source,
          scanned,
          /\b(describe|it|context|test|this)\.(only|skip)\b|\bx(it|describe)\(/g,
          'leaves tests out',
        )
      : []),
  ]
}

// A suite's callback is a list of tests, not a function that someone has to follow.
function isSuite(head: string): boolean {
  return /\bdescribe\(/.test(head)
}

function found(path: string, source: string, { code }: Scan, pattern: RegExp, what: string): string[] {
  return [...code.matchAll(pattern)].map((match) => `${path}:${lineAt(source, match.index)} ${what}`)
}

function documentFaults(path: string, text: string): string[] {
  const prose = text.replace(/^```.*?^```/gms, '')
  const titles = prose.match(/^# .*/gm)?.length ?? 0
  const lines = text.trimEnd().split('\n').length
  return [
    ...(titles === 1 ? [] : [`${path} has ${titles} titles of the first level, not one`]),
    ...(path === 'README.md' && lines >= tidyLimits.readmeLinesMax ? [`${path} has ${lines} lines`] : []),
  ]
}
