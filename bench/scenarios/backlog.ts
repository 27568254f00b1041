/** What waits for the absent: 200 recipients with 50 messages each, and one device with 100,000. */
import { closeRecipients, createLoad, type Load, openRecipients, openSenders, wantEach } from '../generator/load.ts'
import { residentKib, startCost } from '../process-cost.ts'
import type { RunningServer } from '../servers/server.ts'
import { expectCounts, finish, PAIRS, type Run, type Scenario, withServer } from './scenario.ts'

const BACKLOG_EACH = 50
const SAMPLE_MS = 50
const SENDERS_TO_ONE = 10

/** Recipients subscribe, leave, and come back together to what was sent meanwhile. */
export const backlog: Scenario = {
  name: 'backlog',
  title: 'reconnect of 200 and drain of 10,000',
  figure: 'drainS',
  unit: 'seconds',
  heliographOnly: false,
  run: (kind) =>
    withServer(kind, async (server) => {
      const load = createLoad(await server.fleet('raw', { pairs: PAIRS, recipients: PAIRS }), { slots: BACKLOG_EACH })
      const total = PAIRS * BACKLOG_EACH
      await subscribeAndLeave(load, server)
      await openSenders(load, server.mqttPort)
      const queue = startCost(server.pids)
      wantEach(load, BACKLOG_EACH)
      await expectCounts(load, total, 0)
      const queued = queue()
      const drain = startCost(server.pids)
      await openRecipients(load, server.mqttPort)
      await expectCounts(load, total, total)
      const drained = drain()
      return {
        drainS: drained.wallS,
        queuedMsgPerS: total / queued.wallS,
        cpuSPer100k: ((queued.serverS + drained.serverS) * 1e5) / total,
        otherCores: drained.otherCores,
        ...(await finish(load)),
      }
    }),
}

/** 100,000 messages for one device, then one connection. The server has carried as many as a tenth of it before. */
export const oneDevice: Scenario = {
  name: 'one-device',
  title: '100,000 waiting for one device',
  figure: 'rssGrowthMib',
  unit: 'MiB of growth',
  heliographOnly: false,
  run: (kind, settings) =>
    withServer(kind, async (server) => {
      const each = settings.quick ? 1000 : 10_000
      const warm = each / 10
      const shape = { pairs: SENDERS_TO_ONE, recipients: 1 }
      const load = createLoad(await server.fleet('raw', shape), { slots: each, unackedMax: 100 })
      await openRecipients(load, server.mqttPort)
      await openSenders(load, server.mqttPort)
      wantEach(load, warm)
      await expectCounts(load, SENDERS_TO_ONE * warm, SENDERS_TO_ONE * warm)
      await closeRecipients(load)
      return { ...(await fillAndDrain(load, server, each, warm)), ...(await finish(load)) }
    }),
}

async function fillAndDrain(load: Load, server: RunningServer, each: number, warm: number): Promise<Run> {
  const mib = (): number => residentKib(server.pids) / 1024
  const total = SENDERS_TO_ONE * (each + warm)
  const rssBeforeMib = mib()
  let rssPeakMib = rssBeforeMib
  const sampler = setInterval(() => {
    rssPeakMib = Math.max(rssPeakMib, mib())
  }, SAMPLE_MS)
  wantEach(load, each)
  await expectCounts(load, total, SENDERS_TO_ONE * warm)
  const rssWaitingMib = mib()
  const cost = startCost(server.pids)
  await openRecipients(load, server.mqttPort)
  await expectCounts(load, total, total)
  const { wallS, otherCores } = cost()
  clearInterval(sampler)
  const rssAfterMib = mib()
  rssPeakMib = Math.max(rssPeakMib, rssAfterMib, rssWaitingMib)
  const rssGrowthMib = rssPeakMib - rssBeforeMib
  return { rssGrowthMib, rssBeforeMib, rssWaitingMib, rssPeakMib, rssAfterMib, drainS: wallS, otherCores }
}

/** Makes the recipients' sessions and leaves them behind. */
export async function subscribeAndLeave(load: Load, server: RunningServer): Promise<void> {
  await openRecipients(load, server.mqttPort)
  await closeRecipients(load)
}
