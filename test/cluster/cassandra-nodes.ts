/**
 * Three nodes that a test may kill, stop and bring back. They are started by the program that CASSANDRA_NODES_SCRIPT
 * names, which knows `start 3`, `kill N`, `revive N` and `stop`, and leaves the process id of a node in
 * `$CASSANDRA_HOME/nodeN/pid`.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface Nodes {
  readonly contactPoints: readonly string[]
  kill(node: number): Promise<void>
  revive(node: number): Promise<void>
  pause(node: number): void
  resume(node: number): void
  stop(): Promise<void>
}

const START_MS_MAX = 300_000

export async function startNodes(): Promise<Nodes> {
  const script = process.env['CASSANDRA_NODES_SCRIPT']
  const home = process.env['CASSANDRA_HOME']
  const port = process.env['CASSANDRA_CQL_PORT'] ?? '9042'
  if (!script || !home) throw new Error('CASSANDRA_NODES=3 needs CASSANDRA_NODES_SCRIPT and CASSANDRA_HOME as well')
  // What it starts keeps its standard output: nothing may wait for the end of that.
  const run = (...command: string[]) =>
    promisify(execFile)('bash', ['-c', 'bash "$0" "$@" > "$CASSANDRA_HOME.log" 2>&1', script, ...command], {
      timeout: START_MS_MAX,
      // A quick node does not flush its schema: killed, it would come back without tables and answer for them.
      env: { ...process.env, CASSANDRA_FAST: '0' },
    })
  const signal = (node: number, name: NodeJS.Signals) => {
    process.kill(Number(readFileSync(join(home, `node${node}`, 'pid'), 'utf8')), name)
  }
  await run('start', '3')
  return {
    contactPoints: [1, 2, 3].map((node) => `127.0.0.${node}:${port}`),
    kill: async (node) => void (await run('kill', `${node}`)),
    revive: async (node) => void (await run('revive', `${node}`)),
    pause: (node) => signal(node, 'SIGSTOP'),
    resume: (node) => signal(node, 'SIGCONT'),
    stop: async () => void (await run('stop')),
  }
}
