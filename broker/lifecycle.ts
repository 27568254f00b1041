/**
 * A node from start to end: server, HTTP, and the order in which they stop. Readiness turns first, so that nobody new
 * is sent here; then MQTT drains while HTTP still answers; HTTP goes last.
 */
import { readFileSync } from 'node:fs'
import type { Missing } from '../api/health.ts'
import type { Config } from '../core/config.ts'
import type { Clock, Log } from '../core/ports.ts'
import { startHttp } from './http.ts'
import { watchLoopDelay } from './loop-delay.ts'
import { type Operators, startOperators } from './operators.ts'
import { type Server, type ServerOverrides, startServer } from './server.ts'

export interface Node {
  readonly server: Server
  readonly httpPort: number
  readonly version: string
  readonly operators: Operators
  isDraining(): boolean
  /** Idempotent: later calls wait for the first. */
  drain(): Promise<void>
}

export function versionOf(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return version
}

/** What a node lacks to take new work. */
function missingOf(server: Server, isDraining: boolean): Missing[] {
  const missing: Missing[] = []
  const refusal = server.opened.ports.intake.refusal()
  if (refusal !== undefined) missing.push({ what: 'intake', why: refusal })
  missing.push(...(server.opened.missing?.() ?? []))
  if (isDraining) missing.push({ what: 'process', why: 'shutting_down' })
  return missing
}

/**
 * Starts everything. Rejects with a ConfigFault or a socket's error, and leaves nothing behind. `onFatal` must end
 * the process; `overrides` are for tests.
 */
export async function startNode(
  config: Config,
  log: Log,
  onFatal: (error: Error) => void,
  now: Clock = Date.now,
  overrides: ServerOverrides = {},
): Promise<Node> {
  const version = versionOf()
  const server = await startServer(config, log, onFatal, now, overrides)
  const loopDelay = watchLoopDelay()
  let isDraining = false
  let drained: Promise<void> | undefined
  const missing = () => missingOf(server, isDraining)
  const http = await startHttp(server, version, loopDelay.read, missing).catch(async (error: Error) => {
    loopDelay.stop()
    await server.drain()
    throw error
  })

  const operators = startOperators(server, { version, loopDelay: loopDelay.read, missing })

  async function drain(): Promise<void> {
    isDraining = true
    // Observers hear of it before their connections end.
    await operators.publish().catch(() => undefined)
    operators.stop()
    await server.drain()
    loopDelay.stop()
    await http.close()
  }

  return {
    server,
    httpPort: http.port,
    version,
    operators,
    isDraining: () => isDraining,
    drain: () => (drained ??= drain()),
  }
}
