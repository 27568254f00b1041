/**
 * `npm run worker`: a process that takes turns of the cluster profile and listens to nobody. Any number of them beside
 * any number of brokers with WORKERS_INLINE=no; one that dies leaves its shards to the others.
 */
import { parseArgs } from 'node:util'
import { openPorts } from '../adapters/open.ts'
import { ConfigFault, readConfig } from '../core/config.ts'
import { limits } from '../topics/limits.ts'
import { startWorkers } from '../workers/index.ts'
import { createLog, type ProcessLog } from './log.ts'

const HELP = `Usage: npm run worker [-- --help]

Takes turns and works on the queues of the cluster profile. REDIS_URL, DATABASE_URL and CASSANDRA_CONTACT_POINTS
are those of the brokers.
Ends with SIGTERM or SIGINT, when what it works on is finished or handed back.
Exit codes: 0 stopped in order, 1 could not start, 2 a wrong setting or option, 70 a bug.
`
const EXIT_START = 1
const EXIT_USAGE = 2
const EXIT_FATAL = 70

function endFatally(log: ProcessLog, error: Error): never {
  log.last({ error: error.message, stack: error.stack }, 'the worker ends; its shards go to others')
  process.exit(EXIT_FATAL)
}

function listenToSignals(log: ProcessLog, stop: () => Promise<void>): void {
  let isStopping = false
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) return
    isStopping = true
    log.info({ signal }, 'stopping: what is worked on is finished or handed back')
    setTimeout(endFatally, limits.drainTimeoutMs, log, new Error('it did not stop in time')).unref()
    stop().then(
      async () => {
        log.info({}, 'stopped')
        await log.flush()
        process.exit(0)
      },
      (error: Error) => endFatally(log, error),
    )
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } })
  if (values.help) return void process.stdout.write(HELP)
  const config = readConfig(process.env)
  // Before anything is opened: the folder of an embedded profile belongs to its broker.
  if (config.redisUrl === undefined) {
    throw new ConfigFault(
      'The embedded profile has its workers inside; set REDIS_URL and the others to have some beside it.',
    )
  }
  const log = createLog(config.logLevel, config.nodeName, process.stdout.isTTY === true)
  const onFatal = (error: Error): never => endFatally(log, error)
  process.on('uncaughtException', onFatal)
  const opened = await openPorts(config, Date.now, log, onFatal)
  const stopWorkers = startWorkers(opened)
  listenToSignals(log, async () => {
    await stopWorkers()
    await opened.close()
  })
  log.info({}, 'the worker takes turns and works on the queues')
}

main().catch((error: Error) => {
  const isUsage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true
  process.stderr.write(isUsage ? `${error.message.split('. ')[0]}; --help says what there is.\n` : `${error.message}\n`)
  process.exit(isUsage || error instanceof ConfigFault ? EXIT_USAGE : EXIT_START)
})
