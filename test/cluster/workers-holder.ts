/** A process that takes a job of the queue `q`, says so, and never ends it: workers-jobs.test.ts kills it. */
import { createJobs } from '../../adapters/bullmq/jobs.ts'

const [url = '', prefix = ''] = process.argv.slice(2)
const rules = { concurrency: 1, attemptsMax: 3, backoffMs: 20, waitingMax: 100, deadMax: 10 }
const queue = createJobs({ url, prefix }).queue('q', rules)
queue.work(({ data }) => {
  process.send?.({ held: data })
  return new Promise(() => undefined)
})
// The first message says that it works; jobs come after it.
process.send?.({ held: undefined })
process.on('disconnect', () => process.exit())
