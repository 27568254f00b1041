/** Connections for their own sake: how fast they come, and what one costs that does nothing. */
import { closeRecipients, createLoad, type Load, openRecipients } from '../generator/load.ts'
import { residentKib, startCost } from '../process-cost.ts'
import type { RunningServer } from '../servers/server.ts'
import { pause, requireUnbroken, type Scenario, withServer } from './scenario.ts'

const CONNECTS = 4000
const IDLE = 5000
const WARMUP_CONNECTS = 500
const SETTLE_S = 0.5
const SETTLE_ROUNDS_MAX = 30
const SETTLE_SHARE = 0.002

/** CONNECT with a token and SUBSCRIBE, 100 at a time, each on its own device. */
export const connects: Scenario = {
  name: 'connects',
  title: 'connect and subscribe',
  figure: 'connectsPerS',
  unit: 'per second',
  heliographOnly: false,
  run: (kind, settings) =>
    withServer(kind, async (server) => {
      const count = settings.quick ? CONNECTS / 4 : CONNECTS
      const load = await warmedUp(server, count)
      const cost = startCost(server.pids)
      await openRecipients(load, server.mqttPort, WARMUP_CONNECTS)
      const { wallS, serverS, otherCores } = cost()
      await closeRecipients(load)
      requireUnbroken(load)
      return { connectsPerS: count / wallS, cpuMsPerConnect: (serverS * 1000) / count, otherCores }
    }),
}

/** Subscribed connections that say nothing: resident memory of the server after they settled, less before. */
export const idle: Scenario = {
  name: 'idle',
  title: 'idle connection, 5,000 of them',
  figure: 'kibPerConnection',
  unit: 'KiB resident',
  heliographOnly: false,
  run: (kind, settings) =>
    withServer(kind, async (server) => {
      const count = settings.quick ? IDLE / 5 : IDLE
      const load = await warmedUp(server, count)
      const beforeKib = await settledKib(server)
      await openRecipients(load, server.mqttPort, WARMUP_CONNECTS)
      const afterKib = await settledKib(server)
      requireUnbroken(load)
      await closeRecipients(load)
      return {
        kibPerConnection: (afterKib - beforeKib) / count,
        beforeMib: beforeKib / 1024,
        afterMib: afterKib / 1024,
      }
    }),
}

/** A fleet of listeners of which the first WARMUP_CONNECTS came and went, so that code and heap are warm. */
async function warmedUp(server: RunningServer, count: number): Promise<Load> {
  const fleet = await server.fleet('raw', { pairs: 0, recipients: WARMUP_CONNECTS + count })
  const load = createLoad(fleet, { slots: 1 })
  await openRecipients(load, server.mqttPort, 0, WARMUP_CONNECTS)
  await closeRecipients(load)
  return load
}

/** Resident KiB once two looks in a row agree within 0.2 %, or the last look after 15 s. */
async function settledKib(server: RunningServer): Promise<number> {
  let before = residentKib(server.pids)
  for (let round = 0; round < SETTLE_ROUNDS_MAX; round++) {
    await pause(SETTLE_S)
    const now = residentKib(server.pids)
    if (Math.abs(now - before) < SETTLE_SHARE * now) return now
    before = now
  }
  return before
}
