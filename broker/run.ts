/** The process: reads the settings, starts a node, says what to type next, and ends when it is told to. */
import { flushCompileCache } from 'node:module'
import { parseArgs } from 'node:util'
import { type Config, ConfigFault, configLines, configTable, readConfig } from '../core/config.ts'
import { hints } from './hints.ts'
import { type Node, startNode } from './lifecycle.ts'
import { createLog, type ProcessLog } from './log.ts'
import { yieldCompilers } from './priority.ts'

const HELP = `Usage: npm start, or node broker/main.ts [--config | --table | --help]

  --config  print the settings in force, secrets hidden, and end
  --table   print all settings with their defaults as a Markdown table, and end
  --help    print this

Settings are environment variables, for example MQTT_PORT=1884 npm start; docs/settings.md lists them.
Exit codes: 0 stopped in order, 1 could not start, 2 a wrong setting or option, 70 the disk or a bug.
Signals: SIGTERM and SIGINT drain (a second SIGINT ends at once), SIGHUP reads the certificates again.
`

const OPTIONS = {
  config: { type: 'boolean' },
  table: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

const EXIT_START = 1
const EXIT_USAGE = 2
const EXIT_FATAL = 70
const EXIT_INTERRUPTED = 130
/** One Ctrl-C comes twice: from the terminal, and from npm, which hands on what it got itself. */
const ONE_KEY_MS = 500

/** What went wrong at start, as a sentence that says what to do. */
function sentenceOf(error: Error): string {
  const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number }
  if (code === 'EADDRINUSE') {
    const others = 'MQTT_PORT, MQTTS_PORT or HTTP_PORT'
    return `Port ${port} of ${address} is taken; stop what listens there, or set another ${others}.`
  }
  if (code === 'EACCES' && port !== undefined) return `Port ${port} is not for this user; set one above 1023.`
  return `Heliograph could not start: ${error.message}`
}

function endWith(text: string, code: number): never {
  process.stderr.write(`${text}\n`)
  process.exit(code)
}

function listenToSignals(node: Node, log: ProcessLog): void {
  let sinceMs = 0
  const stop = (signal: NodeJS.Signals) => {
    if (node.isDraining()) {
      if (signal === 'SIGINT' && performance.now() - sinceMs > ONE_KEY_MS) process.exit(EXIT_INTERRUPTED)
      return
    }
    sinceMs = performance.now()
    log.info({ signal }, 'stopping: no new connections, what was accepted is committed')
    setTimeout(endFatally, node.server.config.drainTimeoutMs, log, new Error('the store did not close in time')).unref()
    node.drain().then(
      async () => {
        log.info({}, 'stopped')
        await log.flush()
        process.exit(0)
      },
      (error: Error) => endFatally(log, error),
    )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGHUP', () => {
    try {
      node.server.reloadCertificates()
      log.info({}, 'certificates read again')
    } catch (error) {
      log.error({ error: (error as Error).message }, 'the new certificates are not usable; the old ones stay')
    }
  })
}

function endFatally(log: ProcessLog, error: Error): never {
  log.last({ error: error.message, stack: error.stack }, 'the process ends; what was acknowledged is on the disk')
  process.exit(EXIT_FATAL)
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: OPTIONS })
  if (values.help) return void process.stdout.write(HELP)
  if (values.table) return void process.stdout.write(configTable())
  const config: Config = readConfig(process.env)
  const isTerminal = process.stdout.isTTY === true
  const log = createLog(config.logLevel, config.nodeName, isTerminal)
  if (values.config) return void process.stdout.write(`${configLines(config).join('\n')}\n`)
  const onFatal = (error: Error) => endFatally(log, error)
  process.on('uncaughtException', onFatal)
  yieldCompilers()
  const node = await startNode(config, log, onFatal)
  if (config.redisUrl !== undefined && config.phoneKey === undefined) {
    log.warn({}, 'PHONE_KEY is not set: accounts of this broker are not found by number at others; give all the same')
  }
  listenToSignals(node, log)
  flushCompileCache()
  const lines = hints(node)
  if (isTerminal) process.stdout.write(`\n${lines.join('\n')}\n\n`)
  else for (const line of lines.filter((each) => each !== '')) log.info({}, line.trim())
}

main().catch((error: Error) => {
  const isUsage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true
  if (isUsage) endWith(`${error.message.split('. ')[0]}; --help says what there is.`, EXIT_USAGE)
  if (error instanceof ConfigFault) endWith(error.message, EXIT_USAGE)
  endWith(sentenceOf(error), EXIT_START)
})
