/**
 * One SDK process that is measured: `node bench/sdk-process.ts JSON` sends, or receives, and prints one line of JSON.
 * It does nothing else, so its CPU time is that of the SDK; accounts and sessions are there before.
 */
import { once } from 'node:events'
import { comeOnline, openPerson, until } from './sdk-people.ts'
import { type Report, TEXT_CHARS, type Work } from './sdk-work.ts'

/** Promises of `send` that are open at one time. */
const SENDS_OPEN_MAX = 500

/** Begins to measure; the returned function says what was used since. */
function startMeter(): () => Report {
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    return { wallS: (performance.now() - startedMs) / 1000, cpuS: (user + system) / 1e6 }
  }
}

/** From the first `send` to the last PUBACK. */
async function sendAll({ url, folder, peers, messages }: Work): Promise<Report> {
  const client = openPerson(url, folder)
  await comeOnline(client)
  const text = 'x'.repeat(TEXT_CHARS)
  const stop = startMeter()
  let next = 0
  const lane = async () => {
    while (next < messages) await client.send(peers[next++ % peers.length] as string, text)
  }
  await Promise.all(Array.from({ length: SENDS_OPEN_MAX }, lane))
  await until(client, () => client.waiting() === 0, 'the last PUBACK')
  const report = stop()
  const each = Math.ceil(messages / peers.length)
  const failed = peers.flatMap((peer) => client.messages(peer, { limit: each })).filter((m) => m.status === 'failed')
  if (failed.length > 0) throw new Error(`${failed.length} messages failed: ${failed[0]?.failure}.`)
  await client.close()
  return report
}

/** From the begin of the connection until the last message is shown. */
async function receiveAll({ url, folder, messages }: Work): Promise<Report> {
  const client = openPerson(url, folder)
  let shown = 0
  let isUnreadable = false
  client.on('unreadable', () => {
    isUnreadable = true
  })
  client.on('message', () => {
    shown++
  })
  const stop = startMeter()
  client.connect()
  await until(client, () => shown >= messages || isUnreadable, `${messages} messages`)
  const report = stop()
  if (isUnreadable) throw new Error('A message could not be read.')
  await client.close()
  return report
}

const work = JSON.parse(process.argv[2] ?? '') as Work
const report = work.role === 'send' ? await sendAll(work) : await receiveAll(work)
if (!process.stdout.write(`${JSON.stringify(report)}\n`)) await once(process.stdout, 'drain')
