/** Programs of others, run as a user runs them. */
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'

/** Whether a command is on PATH. How it ends says nothing: some end `--version` with 1. */
export function isOnPath(command: string): boolean {
  return spawnSync(command, ['--version']).error === undefined
}

/**
 * Registers `suite`, or, where the program is missing, a test that says what to install: it fails where every client
 * has to be there, which is when HELIOGRAPH_REQUIRE_CLIENTS is 1.
 */
export function whenInstalled(isThere: boolean, install: string, suite: () => void): void {
  if (isThere) suite()
  else {
    it(`were not tried, for they are not installed here: ${install}`, () => {
      assert.notEqual(process.env['HELIOGRAPH_REQUIRE_CLIENTS'], '1', install)
    })
  }
}

export interface Program {
  /** Lines of its output so far. */
  readonly lines: readonly string[]
  /** Resolves when it has printed `count` lines; rejects when it ends before, or after 15 s. */
  printed(count: number): Promise<readonly string[]>
  /** Resolves with its exit code and what it said on stderr, when it has ended by itself. */
  readonly ended: Promise<{ code: number | null; said: string }>
  kill(): void
}

const PRINT_MS_MAX = 15_000
/** Nothing that a failed test left behind outlives it for long. */
const LIFE_MS_MAX = 20_000

/** Starts a program and hands it `input`; what it prints is UTF-8. */
export function start(command: string, args: readonly string[], input = ''): Program {
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: LIFE_MS_MAX,
  })
  const lines: string[] = []
  let rest = ''
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop() as string
    lines.push(...parts)
    child.emit('lines')
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  child.stdin.end(input)
  // "close" comes behind the last line, "exit" may come in front of it.
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, said }))
  return {
    lines,
    ended,
    kill: () => void child.kill(),
    async printed(count) {
      const late = AbortSignal.timeout(PRINT_MS_MAX)
      while (lines.length < count) {
        const more = once(child, 'lines', { signal: late }).then(() => false)
        const isOver = await Promise.race([more, ended.then(() => true)])
        if (!isOver || lines.length >= count) continue
        throw new Error(`${command} ended with ${lines.length} of ${count} lines: ${said}`)
      }
      return lines
    },
  }
}

/** Runs a program to its end; rejects when it fails. */
export async function run(command: string, args: readonly string[], input = ''): Promise<readonly string[]> {
  const program = start(command, args, input)
  const { code, said } = await program.ended
  assert.equal(code, 0, `${command} ${args.join(' ')}: ${said}`)
  return program.lines
}
