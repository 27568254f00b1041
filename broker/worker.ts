/**
 * `npm run worker`: a process that takes turns of the cluster profile and listens to nobody. Any number of them beside
 * any number of brokers with WORKERS_INLINE=no; one that dies leaves its shards to the others.
 */
import { parseArgs } from 'node:util'
import { openPorts } from '../adapters/open.ts'
import { ConfigFault, readConfig } from '../core/config.ts'
import { startTurns, startWorkers } from '../workers/index.ts'
import { createLog } from './log.ts'

const HELP = `Usage: npm run worker [-- --help]

Takes turns of the cluster profile: REDIS_URL, DATABASE_URL and CASSANDRA_CONTACT_POINTS are those of the brokers.
Ends with SIGTERM or SIGINT, when what it works on is finished or handed back.
`
const EXIT_START = 1
const EXIT_USAGE = 2
const EXIT_FATAL = 70

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } })
  if (values.help) return void process.stdout.write(HELP)
  const config = readConfig(process.env)
  const log = createLog(config.logLevel, config.nodeName, process.stdout.isTTY === true)
  const onFatal = (error: Error): never => {
    log.last({ error: error.message, stack: error.stack }, 'the worker ends; its shards go to others')
    process.exit(EXIT_FATAL)
  }
  process.on('uncaughtException', onFatal)
  const opened = await openPorts(config, Date.now, log, onFatal)
  if (opened.storage === undefined) {
    await opened.close()
    throw new ConfigFault(
      'The embedded profile has its workers inside; set REDIS_URL and the others to have some beside it.',
    )
  }
  const stops = [startTurns(opened.storage), startWorkers(opened.ports)]
  log.info({}, 'the worker takes turns')
  let isStopping = false
  const stop = async (): Promise<void> => {
    if (isStopping) return
    isStopping = true
    await Promise.all(stops.map((each) => each()))
    await opened.close()
    log.info({}, 'stopped')
    await log.flush()
    process.exit(0)
  }
  process.on('SIGTERM', () => void stop())
  process.on('SIGINT', () => void stop())
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`)
  process.exit(error instanceof ConfigFault ? EXIT_USAGE : EXIT_START)
})
