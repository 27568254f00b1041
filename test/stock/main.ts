/**
 * The negative control, `npm run test:stock`: every pledge of test/suites on stock aedes with aedes-persistence-
 * redis, which must break it in the way that is known, and on this server, which must keep it. A pledge that nothing
 * breaks proves nothing.
 *
 * `--only <text>` runs the pledges that have the text in them.
 */
import { AssertionError } from 'node:assert'
import { parseArgs } from 'node:util'
import type { Broker, Pledge } from '../suites/broker.ts'
import { openHeliograph } from '../suites/heliograph.ts'
import { pledges } from '../suites/pledges.ts'
import { defects } from './defects.ts'
import { missingRedis } from './redis.ts'
import { openStock } from './stock.ts'

interface Outcome {
  readonly isRight: boolean
  readonly says: string
}

const COLUMNS = [76, 78] as const

/**
 * Runs the pledge on a fresh broker; resolves with what was seen when it is broken. Rejects when it could not be run.
 */
async function tryOn(open: () => Promise<Broker>, pledge: Pledge): Promise<string | undefined> {
  const broker = await open()
  try {
    await pledge.keep(broker)
    return undefined
  } catch (error) {
    if (error instanceof AssertionError) return error.message.split('\n')[0]
    throw error
  } finally {
    await broker.stop()
  }
}

async function onStock(pledge: Pledge): Promise<Outcome> {
  const defect = defects.get(pledge)
  const seen = await tryOn(() => openStock(defect?.setup), pledge)
  if (defect === undefined) return { isRight: seen === undefined, says: seen ?? 'kept' }
  if (seen === undefined) return { isRight: false, says: 'kept: the defect does not show' }
  return { isRight: defect.shows.test(seen), says: defect.shows.test(seen) ? seen : `broken in another way: ${seen}` }
}

async function onOurs(pledge: Pledge): Promise<Outcome> {
  const seen = await tryOn(openHeliograph, pledge)
  return { isRight: seen === undefined, says: seen ?? 'kept' }
}

const unable = (error: Error): Outcome => ({ isRight: false, says: `could not be run: ${error.message}` })

function printRow(pledge: string, stock: string, ours: string): void {
  console.log(`${pledge.padEnd(COLUMNS[0])} | ${stock.padEnd(COLUMNS[1])} | ${ours}`)
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { only: { type: 'string', default: '' } } })
  const missing = missingRedis()
  if (missing !== undefined) {
    console.log(missing)
    return 1
  }
  const outcomes: Outcome[] = []
  printRow('promise', 'stock aedes 1.2.0, aedes-persistence-redis 11.2.2', 'heliograph')
  for (const pledge of pledges.filter(({ says }) => says.includes(values.only))) {
    const stock = await onStock(pledge).catch(unable)
    const ours = await onOurs(pledge).catch(unable)
    outcomes.push(stock, ours)
    const mark = ({ isRight, says }: Outcome) => (isRight ? says : `WRONG: ${says}`)
    printRow(pledge.says, mark(stock), mark(ours))
  }
  const failed = outcomes.filter(({ isRight }) => !isRight).length
  console.log(`${outcomes.length - failed} passed, ${failed} failed`)
  return failed === 0 && outcomes.length > 0 ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
process.exitCode = await main()
