/** From the spawn of the server process until it is ready: on an empty folder, and with a million rows waiting. */
import { closeRecipients, closeSenders, createLoad, openRecipients, openSenders, wantEach } from '../generator/load.ts'
import { residentKib, startCost } from '../process-cost.ts'
import { removeFolder, temporaryFolder } from '../servers/server.ts'
import { subscribeAndLeave } from './backlog.ts'
import { expectCounts, type Scenario, withServer } from './scenario.ts'

const OFFLINE = 1000

export const start: Scenario = {
  name: 'start',
  title: 'start to ready',
  figure: 'readyS',
  unit: 'seconds',
  heliographOnly: false,
  run: (kind) => withServer(kind, async (server) => ({ readyS: server.startS })),
}

/** Fills the folder through the server, starts it again on it, and one recipient proves that the rows are there. */
export const startMillion: Scenario = {
  name: 'start-million',
  title: 'start to ready with 1,000,000 waiting',
  figure: 'readyS',
  unit: 'seconds',
  heliographOnly: true,
  runsMax: 1,
  async run(kind, settings) {
    const each = settings.quick ? 50 : 1000
    const total = OFFLINE * each
    const dataDir = temporaryFolder(`${kind.name}-million`)
    try {
      const filled = await kind.start({ dataDir })
      const fleet = await filled.fleet('raw', { pairs: OFFLINE, recipients: OFFLINE })
      const load = createLoad(fleet, { slots: each, unackedMax: 100 })
      await subscribeAndLeave(load, filled)
      await openSenders(load, filled.mqttPort)
      const cost = startCost(filled.pids)
      wantEach(load, each)
      await expectCounts(load, total, 0)
      const { wallS } = cost()
      await closeSenders(load)
      await filled.stop()
      const server = await kind.start({ dataDir })
      try {
        const rssMib = residentKib(server.pids) / 1024
        await openRecipients(load, server.mqttPort, 0, 1)
        await expectCounts(load, total, each)
        await closeRecipients(load)
        return { readyS: server.startS, fillMsgPerS: total / wallS, rssMib, misordered: load.traffic.misordered }
      } finally {
        await server.stop()
      }
    } finally {
      removeFolder(dataDir)
    }
  },
}
