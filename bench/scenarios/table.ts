/** All scenarios, in the order in which a round runs them. */
import { killDefaults, killLane } from '../kill.ts'
import { backlog, oneDevice } from './backlog.ts'
import { connects, idle } from './connections.ts'
import type { Scenario } from './scenario.ts'
import { slowDisk } from './slow-disk.ts'
import { start, startMillion } from './start.ts'
import { closedLoop, openLoop } from './throughput.ts'

/** SIGKILL under load, restart, reconnect, drain: once, not once per round. */
const kill: Scenario = {
  name: 'kill',
  title: 'kill -9 under load',
  figure: 'lost',
  unit: 'acknowledged and lost',
  heliographOnly: true,
  runsMax: 1,
  run: async (kind, settings) => {
    const { rounds, acked, lost, unacked, misordered, duplicated, seqTwice, seqBackwards, restartSMax } =
      await killLane(kind, {
        ...killDefaults,
        rounds: settings.killRounds,
        paths: ['raw', 'send-request'],
        note: settings.note,
      })
    return { rounds, acked, lost, unacked, misordered, duplicated, seqTwice, seqBackwards, restartSMax }
  },
}

export const scenarios: readonly Scenario[] = [
  closedLoop('raw', 1),
  closedLoop('raw', 10),
  closedLoop('raw', 100),
  closedLoop('send-request', 1),
  closedLoop('send-request', 10),
  openLoop('raw', 1000),
  openLoop('raw', 10_000),
  openLoop('send-request', 1000),
  openLoop('send-request', 10_000),
  backlog,
  oneDevice,
  connects,
  idle,
  start,
  startMillion,
  slowDisk,
  kill,
]
