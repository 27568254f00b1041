/**
 * The terminal: lines in, wrapped lines out, above what is being typed. Where stdin and stdout are no terminal there is
 * no colour, no prompt and no movement of the cursor: every line is final.
 */
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from 'node:readline'
import { styleText } from 'node:util'
import { widthOf, wrap } from './screen.ts'

export type Style = 'bold' | 'dim' | 'blue' | 'yellow'

/** Something printed that may be printed anew. */
export interface Printed {
  rows: number
}

export interface Terminal {
  /** There is a person at a terminal. */
  readonly isRich: boolean
  readonly hasColours: boolean
  style(style: Style, text: string): string
  print(text: string): Printed
  /** Not wrapped and not looked at: for what is copied, and for pictures. */
  printRaw(text: string): void
  /** Writes it in place when it is on the screen, else anew. */
  reprint(printed: Printed | undefined, text: string): Printed
  /** The next line; undefined when there are no more. */
  ask(prompt: string): Promise<string | undefined>
  close(): void
}

interface Entry extends Printed {
  lines: readonly string[]
}

const COLUMNS = 80
const COLUMNS_MIN = 20
/** Entries that can be written anew. */
const ENTRIES_MAX = 200

/** Lines that came and nobody took yet, and the one who waits for one; `onLine` hears of each before it is taken. */
function lineQueue(rl: Interface, onLine: (line: string, isWaited: boolean) => void = () => undefined) {
  const lines: string[] = []
  let waiting: ((line: string | undefined) => void) | undefined
  let isEnded = false
  rl.on('line', (line) => {
    onLine(line, waiting !== undefined)
    if (waiting === undefined) lines.push(line)
    else waiting(line)
    waiting = undefined
  })
  rl.on('close', () => {
    isEnded = true
    waiting?.(undefined)
  })
  return {
    next(): Promise<string | undefined> {
      const line = lines.shift()
      if (line !== undefined || isEnded) return Promise.resolve(line)
      return new Promise((resolve) => {
        waiting = resolve
      })
    },
    isWaited: () => waiting !== undefined,
  }
}

export function openTerminal(): Terminal {
  const { stdin, stdout } = process
  const isRich = stdin.isTTY === true && stdout.isTTY === true
  return isRich ? richTerminal() : plainTerminal()
}

function plainTerminal(): Terminal {
  const rl = createInterface({ input: process.stdin, terminal: false })
  const queue = lineQueue(rl)
  const print = (text: string): Printed => {
    const lines = wrap(text, COLUMNS)
    process.stdout.write(`${lines.join('\n')}\n`)
    return { rows: lines.length }
  }
  return {
    isRich: false,
    hasColours: false,
    style: (_, text) => text,
    print,
    printRaw: (text) => void process.stdout.write(`${text}\n`),
    reprint: (_, text) => print(text),
    ask: () => queue.next(),
    close: () => rl.close(),
  }
}

function richTerminal(): Terminal {
  const { stdin: input, stdout } = process
  const rl = createInterface({ input, output: stdout, terminal: true, historySize: 200 })
  const columns = () => Math.max(stdout.columns, COLUMNS_MIN)
  let entries: Entry[] = []
  const queue = lineQueue(rl, (line, isWaited) => {
    // What was typed is printed by the one who takes it, so that it can be written anew with its ticks.
    if (isWaited) up(Math.floor(widthOf(rl.getPrompt() + line) / columns()) + 1)
    else entries = []
  })
  // After another width nothing is where it was.
  stdout.on('resize', () => {
    entries = []
  })
  rl.on('SIGINT', () => rl.close())

  const style = (style: Style, text: string) => styleText(style, text, { stream: stdout })
  const up = (rows: number) => {
    if (rows > 0) moveCursor(stdout, 0, -rows)
    cursorTo(stdout, 0)
    clearScreenDown(stdout)
  }
  /** Writes above what is being typed, `rows` rows higher. */
  const write = (lines: readonly string[], rows: number) => {
    up(rows + (queue.isWaited() ? rl.getCursorPos().rows : 0))
    stdout.write(lines.map((line) => `${line}\n`).join(''))
    if (queue.isWaited()) rl.prompt(true)
  }
  const add = (lines: readonly string[]): Entry => {
    const entry = { lines, rows: lines.length }
    write(lines, 0)
    entries = [...entries, entry].slice(-ENTRIES_MAX)
    return entry
  }
  return {
    isRich: true,
    hasColours: style('blue', 'x') !== 'x',
    style,
    print: (text) => add(wrap(text, columns())),
    printRaw(text) {
      // Its rows are not counted, so nothing above it is written anew.
      write(text.split('\n'), 0)
      entries = []
    },
    reprint(printed, text) {
      const at = printed === undefined ? -1 : entries.indexOf(printed as Entry)
      const from = entries.slice(at)
      const rows = from.reduce((sum, entry) => sum + entry.rows, 0)
      const [entry] = from
      if (at < 0 || entry === undefined || rows + 2 > stdout.rows) return add(wrap(text, columns()))
      entry.lines = wrap(text, columns())
      entry.rows = entry.lines.length
      write(
        from.flatMap(({ lines }) => lines),
        rows,
      )
      return entry
    },
    ask(prompt) {
      rl.setPrompt(prompt)
      const line = queue.next()
      if (queue.isWaited()) rl.prompt(true)
      return line
    },
    close: () => rl.close(),
  }
}

/** Reads a line without showing it. Undefined: Ctrl-C or Ctrl-D. Only where stdin is a terminal. */
export function askHidden(question: string): Promise<string | undefined> {
  const { stdin, stdout } = process
  stdout.write(question)
  stdin.setRawMode(true).setEncoding('utf8').resume()
  let typed = ''
  return new Promise((resolve) => {
    const end = (line: string | undefined) => {
      stdin.off('data', take).setRawMode(false).pause()
      stdout.write('\n')
      resolve(line)
    }
    const take = (text: string) => {
      for (const character of text) {
        if (character === '\r' || character === '\n') return end(typed)
        if (character === '\u0003' || character === '\u0004') return end(undefined)
        if (character === '\u007f' || character === '\b') typed = [...typed].slice(0, -1).join('')
        else if (character >= ' ') typed += character
      }
    }
    stdin.on('data', take)
  })
}
