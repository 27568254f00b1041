/** A string or template literal of a source file. */
export type Literal = {
  /** What stands between the quotes, with every `${expression}` of a template shown as `${}`. */
  text: string
  /** Offset of the opening quote in the source, and the one after the closing quote. */
  start: number
  end: number
}

/** A source with everything removed that is not code. */
export type Scan = {
  /** As long as the source, with comments, literals and regular expressions blanked; line breaks stay. */
  code: string
  literals: Literal[]
}

const regexMayFollow = /(^|[(,=:[!&|?{};+\-*%<>~^]|\b(return|typeof|case|in|of|delete|void|throw|else|do|await|yield))$/

/**
 * Separates code, comments and literals of TypeScript. It knows just enough of the language for that, where a parser
 * would be one more dependency; a regular expression right after `)` is taken for a division.
 */
export function scan(source: string): Scan {
  const code = source.split('')
  const literals: Literal[] = []
  // Where a template's `${` opened: its closing brace leads back into the template.
  const templates: { start: number; text: string; depth: number }[] = []
  let depth = 0

  const blank = (from: number, to: number): void => {
    for (let at = from; at < to; at++) if (code[at] !== '\n') code[at] = ' '
  }
  const isRegex = (slash: number): boolean => {
    const before = code.slice(Math.max(0, slash - 80), slash).join('')
    return regexMayFollow.test(before.trimEnd())
  }
  const readTemplate = (start: number, from: number, before: string): number => {
    let at = from
    let text = before
    while (at < source.length && source[at] !== '`') {
      if (source.startsWith('${', at)) {
        blank(from, at + 1)
        templates.push({ start, text: `${text}\${}`, depth: depth++ })
        return at + 2
      }
      if (source[at] === '\\') text += source[at++]
      text += source[at++] ?? ''
    }
    blank(from, at)
    literals.push({ text, start, end: at + 1 })
    return at + 1
  }

  let at = 0
  while (at < source.length) {
    const char = source[at] ?? ''
    if (source.startsWith('//', at) || source.startsWith('/*', at)) {
      const end = endOfComment(source, at)
      blank(at, end)
      at = end
    } else if (char === "'" || char === '"') {
      const end = endOfQuoted(source, at)
      literals.push({ text: source.slice(at + 1, end - 1), start: at, end })
      blank(at + 1, end - 1)
      at = end
    } else if (char === '`') {
      at = readTemplate(at, at + 1, '')
    } else if (char === '}' && templates.at(-1)?.depth === depth - 1) {
      const opened = templates.pop()
      depth--
      at = readTemplate(opened?.start ?? at, at + 1, opened?.text ?? '')
    } else if (char === '/' && isRegex(at)) {
      const end = endOfRegex(source, at)
      blank(at, end)
      at = end
    } else {
      if (char === '{') depth++
      if (char === '}') depth--
      at++
    }
  }
  return { code: code.join(''), literals: literals.sort((a, b) => a.start - b.start) }
}

/** 1-based number of the line that holds `offset`. */
export function lineAt(source: string, offset: number): number {
  let line = 1
  for (let at = source.indexOf('\n'); at !== -1 && at < offset; at = source.indexOf('\n', at + 1)) line++
  return line
}

/** A function in a source, from the opening parenthesis of its parameters (or its body) to its closing brace. */
export type FunctionSpan = {
  /** The code of the line on which it begins. */
  head: string
  firstLine: number
  lines: number
}

/** Every function with a body in braces: declarations, methods and arrow functions, nested ones too. */
export function functionsIn({ code }: Scan): FunctionSpan[] {
  const spans: FunctionSpan[] = []
  const open: { start: number | undefined }[] = []
  for (let at = 0; at < code.length; at++) {
    if (code[at] === '{') open.push({ start: functionStart(code, at) })
    if (code[at] !== '}') continue
    const start = open.pop()?.start
    if (start === undefined) continue
    const firstLine = lineAt(code, start)
    const head = code.slice(code.lastIndexOf('\n', start) + 1, code.indexOf('\n', start))
    spans.push({ head, firstLine, lines: lineAt(code, at) - firstLine + 1 })
  }
  return spans
}

// Where the function begins whose body this brace opens; undefined for blocks, classes, objects and types.
function functionStart(code: string, brace: number): number | undefined {
  const before = code.slice(0, brace).trimEnd()
  if (before.endsWith('=>')) return brace
  const close = before.endsWith(')') ? before.length - 1 : parametersBeforeReturnType(before)
  if (close === undefined) return undefined
  const start = matchingOpen(before, close)
  const word = /(\w+)\s*$/.exec(before.slice(0, start))?.[1] ?? ''
  return ['if', 'for', 'while', 'switch', 'catch', 'with', 'await'].includes(word) ? undefined : start
}

// `): Promise<{ a: number }>` read backwards to the parenthesis; undefined when this is no return type.
function parametersBeforeReturnType(before: string): number | undefined {
  for (let at = before.length - 1; at > 0; at--) {
    const char = before[at] ?? ''
    if (before.startsWith('=>', at - 1)) at--
    else if (pairs.has(char)) at = matchingOpen(before, at)
    else if (';={([`'.includes(char)) return undefined
    else if (char === ':') {
      const parameters = before.slice(0, at).trimEnd()
      return parameters.endsWith(')') ? parameters.length - 1 : undefined
    }
  }
  return undefined
}

const pairs = new Map([
  [')', '('],
  [']', '['],
  ['}', '{'],
  ['>', '<'],
])

function matchingOpen(code: string, close: number): number {
  const char = code[close] ?? ''
  const opening = pairs.get(char)
  let depth = 0
  for (let at = close; at >= 0; at--) {
    if (code[at] === char && !code.startsWith('=>', at - 1)) depth++
    if (code[at] === opening && --depth === 0) return at
  }
  return 0
}

function endOfComment(source: string, start: number): number {
  const end = source[start + 1] === '/' ? source.indexOf('\n', start) : source.indexOf('*/', start + 2) + 2
  return end < start + 2 ? source.length : end
}

function endOfQuoted(source: string, start: number): number {
  let at = start + 1
  while (at < source.length && source[at] !== source[start] && source[at] !== '\n') at += source[at] === '\\' ? 2 : 1
  return at + 1
}

function endOfRegex(source: string, start: number): number {
  let inClass = false
  let at = start + 1
  while (at < source.length && source[at] !== '\n' && (inClass || source[at] !== '/')) {
    if (source[at] === '\\') at++
    else if (source[at] === '[') inClass = true
    else if (source[at] === ']') inClass = false
    at++
  }
  return at + 1
}
