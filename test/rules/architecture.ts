/** The rules of imports: which folder may know which. Pure: a tree of texts in, sentences out. */
import { dirname, join } from 'node:path/posix'
import { type Literal, lineAt, scan } from './scan.ts'
import { isCode, type Tree } from './tree.ts'

/** One import of a source file, static, dynamic, re-exported or as the URL of a worker's file. */
export type Import = {
  /** What the source says: `./ports.ts`, `aedes`, `node:net`. */
  specifier: string
  /** Path in the tree for a relative specifier, undefined for a package. */
  path: string | undefined
  line: number
  typeOnly: boolean
}

// Which folder may import from which (itself always); one that is absent here may import from everywhere.
const arrows: Record<string, readonly string[]> = {
  topics: [],
  core: ['topics'],
  plugins: ['core', 'topics'],
  workers: ['core', 'topics'],
  api: ['core', 'topics'],
  adapters: ['core', 'topics'],
  client: ['topics'],
  broker: ['adapters', 'api', 'core', 'plugins', 'topics', 'workers'],
}

// The driver of a technology and those that speak to it, as beginnings of paths; client/ has a database of its own. Of
// libsignal the server knows nothing: it is the encryption between clients, and its licence is another matter there.
const drivers: [name: RegExp, homes: readonly string[]][] = [
  [/^node:sqlite$/, ['adapters/sqlite/', 'client/']],
  [/^@signalapp\//, ['client/crypto/']],
  [/^mqtt$/, ['client/transport/mqtt-connection.ts', 'broker/demo']],
  [/^ioredis$/, ['adapters/redis/', 'adapters/bullmq/']],
  [/^bullmq$/, ['adapters/bullmq/']],
  [/^cassandra-driver$/, ['adapters/cassandra/']],
  [/^pg$/, ['adapters/postgres/']],
  [/^cockatiel$/, ['adapters/breaker.ts']],
  [/^(aedes-persistence-redis|mqemitter-redis)\b/, ['adapters/redis/operator-topics.ts']],
  [/^@aws-sdk\//, ['adapters/s3/']],
  [/^firebase-admin/, ['adapters/fcm/']],
]

// Where nothing but a decision happens: no sockets, files, threads or processes.
const outside = /^node:(fs|net|tls|http|https|http2|dgram|dns|child_process|worker_threads|cluster)\b/

const freeFolders = ['test', 'bench']
const openers = ['adapters/open.ts', 'adapters/open-cluster.ts']

/** Every import of one source, resolved against the tree's paths. */
export function importsOf(path: string, source: string): Import[] {
  const { code, literals } = scan(source)
  return literals.flatMap((literal) => {
    const kind = importKind(code, literal)
    if (kind === undefined) return []
    const relative = literal.text.startsWith('.')
    return {
      specifier: literal.text,
      path: relative ? join(dirname(path), literal.text) : undefined,
      line: lineAt(source, literal.start),
      typeOnly: kind === 'type',
    }
  })
}

/**
 * What in `tree` breaks the rules of imports, one sentence each: a forbidden arrow, a driver or aedes where it does
 * not belong, a cycle, a file that no entry point reaches, a topic spelled outside topics/.
 * `entries` are the files that something other than an import starts.
 */
export function architectureFaults(tree: Tree, entries: readonly string[]): string[] {
  const sources = [...tree].filter(([path]) => isCode(path))
  const imports = new Map(sources.map(([path, source]) => [path, importsOf(path, source)]))
  return [
    ...[...imports].flatMap(([path, each]) => each.flatMap((one) => arrowFaults(path, one, tree, entries))),
    ...aedesFaults(imports),
    ...cycleFaults(imports),
    ...unusedFaults(tree, imports, entries),
    ...sources.flatMap(([path, source]) => spelledTopicFaults(path, source)),
  ]
}

function importKind(code: string, literal: Literal): 'type' | 'runtime' | undefined {
  const before = code.slice(Math.max(0, literal.start - 4000), literal.start).trimEnd()
  if (/\btypeof import\($/.test(before)) return 'type'
  if (/\bimport(\()?$|\brequire\($/.test(before)) return 'runtime'
  const isUrl = /\bnew URL\($/.test(before) && /^\s*,\s*import\.meta\.url\b/.test(code.slice(literal.end))
  if (isUrl) return /\.(ts|mjs)$/.test(literal.text) ? 'runtime' : undefined
  const clause = /\b(?:import|export)\s+(type\s+(?!from\b))?[\w\s{},*$]*\bfrom$/.exec(before)
  if (clause === null) return undefined
  return clause[1] === undefined ? 'runtime' : 'type'
}

function folderOf(path: string): string {
  return path.split('/').length > 1 ? (path.split('/')[0] ?? '') : ''
}

function adapterOf(path: string): string | undefined {
  return /^adapters\/([^/]+)\//.exec(path)?.[1]
}

function arrowFaults(path: string, one: Import, tree: Tree, entries: readonly string[]): string[] {
  const { specifier, path: target, line } = one
  const from = folderOf(path)
  const at = `${path}:${line} imports ${specifier}`
  if (target !== undefined) {
    if (!tree.has(target)) return [`${at}, which does not exist`]
    if (freeFolders.includes(from)) return []
    const to = folderOf(target)
    if (to !== from && arrows[from]?.includes(to) === false) return [`${at}: ${from}/ may not import from ${to}/`]
    const adapter = adapterOf(target)
    if (adapter !== undefined && !openers.includes(path) && adapterOf(path) !== adapter) {
      return [`${at}: only ${openers[0]} names adapters`]
    }
    return []
  }
  if (freeFolders.includes(from)) return []
  // An entry point in topics/ writes the reference from the tables; it is no part of the contract.
  const isContract = from === 'topics' && !entries.includes(path)
  if (isContract && specifier !== 'node:crypto') return [`${at}: topics/ needs nothing but node:crypto`]
  if (from === 'core' && outside.test(specifier)) return [`${at}: core/ does no input or output`]
  const homes = drivers.find(([name]) => name.test(specifier))?.[1]
  const atHome = homes === undefined || homes.some((home) => path.startsWith(home))
  return atHome ? [] : [`${at}: that driver belongs to ${homes.join(' and ')}`]
}

function aedesFaults(imports: ReadonlyMap<string, Import[]>): string[] {
  const users = [...imports].flatMap(([path, each]) =>
    each.filter(({ specifier }) => specifier === 'aedes').map(({ line, typeOnly }) => ({ path, line, typeOnly })),
  )
  const served = users.filter(({ path }) => !freeFolders.includes(folderOf(path)))
  const strangers = served.filter(({ path, typeOnly }) => {
    const folder = folderOf(path)
    return folder !== 'broker' && !(folder === 'plugins' && typeOnly)
  })
  const builders = new Set(
    served.filter(({ path, typeOnly }) => folderOf(path) === 'broker' && !typeOnly).map((user) => user.path),
  )
  return [
    ...strangers.map(
      ({ path, line }) => `${path}:${line} imports aedes: plugins/ may know its types, only broker/ runs it`,
    ),
    ...(builders.size > 1
      ? [`aedes is imported at run time in ${[...builders].join(' and ')}: one file wraps it`]
      : []),
  ]
}

function cycleFaults(imports: ReadonlyMap<string, Import[]>): string[] {
  const faults: string[] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): void => {
    const seenAt = trail.indexOf(path)
    if (seenAt !== -1) faults.push(`${[...trail.slice(seenAt), path].join(' -> ')} is a cycle`)
    if (seenAt !== -1 || done.has(path)) return
    for (const target of new Set(imports.get(path)?.map((each) => each.path))) {
      if (target !== undefined) visit(target, [...trail, path])
    }
    done.add(path)
  }
  for (const path of imports.keys()) visit(path, [])
  return faults
}

// Reached: named by an import, or by its path in a literal (a process or a worker that is started by that name).
function unusedFaults(tree: Tree, imports: ReadonlyMap<string, Import[]>, entries: readonly string[]): string[] {
  const missing = entries
    .filter((path) => !tree.has(path))
    .map((path) => `${path} is an entry point and does not exist`)
  const reach = (from: readonly string[]): Set<string> => {
    const reached = new Set(from)
    for (const path of reached) {
      for (const { path: target } of imports.get(path) ?? []) if (target !== undefined) reached.add(target)
      for (const { text } of scan(tree.get(path) ?? '').literals) if (imports.has(text)) reached.add(text)
    }
    return reached
  }
  const isTest = (path: string): boolean => folderOf(path) === 'test'
  const byAny = reach([...entries, ...[...tree.keys()].filter((path) => path.endsWith('.test.ts'))])
  const byProduct = reach(entries.filter((path) => !isTest(path)))
  const unused = [...imports.keys()].flatMap((path) => {
    if (!byAny.has(path)) return [`${path} is used by nothing`]
    // topics/ is the contract with clients of every kind: its parts may wait for one.
    const forTestsOnly = !byProduct.has(path) && !isTest(path) && folderOf(path) !== 'topics'
    return forTestsOnly ? [`${path} is used by tests only`] : []
  })
  return [...missing, ...unused]
}

const topicFolders = ['adapters', 'api', 'broker', 'client', 'core', 'plugins', 'workers']
const spelledTopics = [
  /(^|[^\w./-])d\/(\$\{\}|[+\w-]+)\/(out|in|now|live|gone|raw|from)\b/,
  /\/(raw|from)\//,
  /^\/(out|in|now|live|gone|raw|from)(\/|$)/,
  /(^|[^\w.-])u\/(\$\{\}|[+\w-]+)\/presence\b/,
  /^(ops|\$SYS)\//,
]

function spelledTopicFaults(path: string, source: string): string[] {
  if (!topicFolders.includes(folderOf(path))) return []
  const { code, literals } = scan(source)
  return literals
    .filter((literal) => spelledTopics.some((topic) => topic.test(literal.text)))
    .filter((literal) => importKind(code, literal) === undefined)
    .map(({ text, start }) => `${path}:${lineAt(source, start)} spells the topic '${text}': topics/ alone does that`)
}
