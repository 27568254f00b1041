/** The rules of documents: what they name exists, what they print was measured. Pure: a tree of texts in, sentences out. */
import { dirname, join } from 'node:path/posix'
import { scan } from './scan.ts'
import type { Tree } from './tree.ts'

/** The document that follows a message through the code. */
export const walkDocument = 'docs/message-walk.md'
/** The document that justifies every package. */
export const dependencyDocument = 'docs/dependencies.md'
const figuresFolder = 'bench/results/'

/** What the documents in `tree` claim and the rest of it does not bear out, one sentence each. */
export function docsFaults(tree: Tree): string[] {
  const documents = [...tree].filter(([path]) => path.endsWith('.md'))
  return [
    ...documents.flatMap(([path, text]) => linkFaults(tree, path, text)),
    ...documents.flatMap(([path, text]) => scriptFaults(tree, path, text)),
    ...documents.flatMap(([path, text]) => recordFaults(path, text)),
    ...walkFaults(tree),
    ...dependencyFaults(tree),
    ...readmeFaults(tree),
  ]
}

type Package = { scripts?: Record<string, string> } & Partial<Record<DependencyKind, Record<string, string>>>
type DependencyKind = 'dependencies' | 'devDependencies' | 'optionalDependencies'
const dependencyKinds: DependencyKind[] = ['dependencies', 'devDependencies', 'optionalDependencies']

function packageOf(tree: Tree): Package {
  return JSON.parse(tree.get('package.json') ?? '{}') as Package
}

function withoutFences(text: string): string {
  return text.replace(/^```.*?^```/gms, '')
}

// Every relative link leads to a file or folder, and its #anchor to a heading there.
function linkFaults(tree: Tree, path: string, text: string): string[] {
  const prose = withoutFences(text).replace(/`[^`\n]*`/g, '')
  const targets = [...prose.matchAll(/\]\(\s*<?([^)\s>]+)/g), ...prose.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm)]
  return targets.flatMap(([, target = '']) => {
    if (/^[a-z]+:/.test(target)) return []
    const [file = '', anchor] = target.split('#')
    const linked = file === '' ? path : join(dirname(path), decodeURIComponent(file)).replace(/\/$/, '')
    const isFolder = linked === '.' || [...tree.keys()].some((each) => each.startsWith(`${linked}/`))
    if (!tree.has(linked) && !isFolder) return [`${path} links to ${target}, which does not exist`]
    if (anchor === undefined || !linked.endsWith('.md')) return []
    return anchorsOf(tree.get(linked) ?? '').includes(anchor) ? [] : [`${path} links to ${target}: no such heading`]
  })
}

function anchorsOf(text: string): string[] {
  const headings = [...withoutFences(text).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading)
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

// A command that a reader types must be a script that exists.
function scriptFaults(tree: Tree, path: string, text: string): string[] {
  const scripts = Object.keys(packageOf(tree).scripts ?? {})
  const named = new Set([...text.matchAll(/\bnpm run (?:--silent )?([a-z][\w:-]*)/g)].map(([, name = '']) => name))
  return [...named]
    .filter((name) => !scripts.includes(name))
    .map((name) => `${path} says "npm run ${name}": no such script`)
}

// A decision record says what was the case, what was decided and what that costs.
function recordFaults(path: string, text: string): string[] {
  if (!path.startsWith('docs/adr/') || path.endsWith('/README.md')) return []
  const parts = ['Context', 'Decision', 'Consequences'].filter((part) => !text.includes(`\n## ${part}\n`))
  return [
    ...(/\/\d{4}-[a-z0-9-]+\.md$/.test(path) ? [] : [`${path} is not named 0000-what-was-decided.md`]),
    ...parts.map((part) => `${path} has no part called ${part}`),
  ]
}

/**
 * The walk names `folder/file.ts` and then, in the same paragraph or table row, `functions()` of that file. Each file
 * must exist and declare each function, so that the document cannot outlive the code.
 */
function walkFaults(tree: Tree): string[] {
  const text = tree.get(walkDocument)
  if (text === undefined) return [`${walkDocument} does not exist`]
  const faults: string[] = []
  let named = 0
  for (const paragraph of withoutFences(text).split(/\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) ?)/)) {
    let file: string | undefined
    for (const [, span = ''] of paragraph.matchAll(/`([^`\n]+)`/g)) {
      const call = /^([\w$.]+)\(\)$/.exec(span)?.[1]
      if (/^[\w./-]+\.ts$/.test(span)) {
        file = span
        if (!tree.has(file)) faults.push(`${walkDocument} names ${file}, which does not exist`)
      } else if (call !== undefined && file === undefined) {
        faults.push(`${walkDocument} names ${call}() without its file before it`)
      } else if (call !== undefined && file !== undefined) {
        named++
        const source = tree.get(file)
        if (source !== undefined && !declares(source, call)) faults.push(`${walkDocument}: ${file} has no ${call}()`)
      }
    }
  }
  return named === 0 ? [...faults, `${walkDocument} names no function`] : faults
}

// A function, a constant that holds one, a method or a property with a function: not a mere call of that name.
function declares(source: string, name: string): boolean {
  const last = (name.split('.').at(-1) ?? name).replaceAll('$', String.raw`\$`)
  const declared = new RegExp(
    [
      String.raw`\b(function\*?|const|let|class)\s+${last}\b`,
      String.raw`^\s*(async\s+|static\s+|get\s+|set\s+|\*\s*)*${last}\s*(<[^>]*>)?\([^)]*\)[^;\n]*\{`,
      String.raw`\b${last}\??:\s*(async\s*)?(\(|\w+\s*=>|function\b)`,
    ].join('|'),
    'm',
  )
  return declared.test(scan(source).code)
}

// docs/dependencies.md has one table row per package, with a reason and with what we would do without it.
function dependencyFaults(tree: Tree): string[] {
  const text = tree.get(dependencyDocument)
  if (text === undefined) return [`${dependencyDocument} does not exist`]
  const wanted = dependencyKinds.flatMap((kind) => {
    const versions = packageOf(tree)[kind] ?? {}
    const names = Object.keys(versions)
    const loose = names.filter((name) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(versions[name] ?? ''))
    const sorted = names.join() === [...names].sort().join()
    return {
      names,
      faults: [
        ...loose.map((name) => `package.json does not pin ${name} to one version`),
        ...(sorted ? [] : [`package.json does not sort its ${kind}`]),
      ],
    }
  })
  const names = wanted.flatMap((each) => each.names)
  const rows = [...text.matchAll(/^\| `([^`]+)` \|([^|\n]*)\|([^|\n]*)\|/gm)].map(
    ([, name = '', why = '', without = '']) => {
      return { name, complete: why.trim().length > 10 && without.trim().length > 10 }
    },
  )
  return [
    ...wanted.flatMap((each) => each.faults),
    ...names
      .filter((name) => rows.filter((row) => row.name === name).length !== 1)
      .map((name) => `${dependencyDocument} does not have one row for ${name}`),
    ...rows.filter((row) => !names.includes(row.name)).map(({ name }) => `${dependencyDocument}: ${name} is not used`),
    ...rows.filter((row) => !row.complete).map(({ name }) => `${dependencyDocument} gives no reason for ${name}`),
  ]
}

const commands = ['npm ci && npm start', 'npm ci && npm test']

function readmeFaults(tree: Tree): string[] {
  const text = tree.get('README.md')
  if (text === undefined) return ['README.md does not exist']
  const figures = text.split('\n').filter((line) => line.includes(`](${figuresFolder}`))
  return [
    ...commands.filter((command) => !text.includes(command)).map((command) => `README.md does not say: ${command}`),
    ...(figures.length === 0 ? [`README.md links to no figures in ${figuresFolder}`] : []),
    ...figures.flatMap((line) => figureFaults(tree, line)),
  ]
}

/** Every number of a README line with a link to a result file stands in that file, rounded as it is printed. */
function figureFaults(tree: Tree, line: string): string[] {
  const files = [...line.matchAll(/\]\((bench\/results\/[^)#\s]+\.json)/g)].map(([, file = '']) => file)
  const measured = files.flatMap((file) => numbersIn(JSON.parse(tree.get(file) ?? '[]')))
  const prose = line.replace(/\]\([^)]*\)/g, ']')
  const printed = prose.match(/(?<![\w.,])\d+(,\d{3})*(\.\d+)?([kM](?!\w))?/g) ?? []
  return printed
    .filter((number) => !measured.some((each) => isRoundedTo(each, number)))
    .map((number) => `README.md prints ${number}, which is not in ${files.join(' or ')}`)
}

function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return [value]
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(numbersIn)
  return []
}

// 228,000 (or 228k) stands for 227,500 to 228,500 and 0.39 for 0.385 to 0.395, but 20,000 not for 24,000: zeros at the
// end may hide half a percent.
function isRoundedTo(measured: number, printed: string): boolean {
  const digits = printed.replaceAll(',', '').replace('k', '000').replace('M', '000000')
  const number = Number(digits)
  const decimals = digits.split('.')[1]?.length ?? 0
  const zeros = /0*$/.exec(digits)?.[0].length ?? 0
  const hundredth = 10 ** Math.floor(Math.log10(number / 100))
  const step = decimals > 0 ? 10 ** -decimals : Math.min(10 ** zeros, Math.max(1, hundredth))
  return Math.abs(measured - number) <= step / 2 + 1e-9
}
