/** All scenarios, in the order in which a round runs them. */
import { killDefaults, killLane } from '../kill.ts'
import { backlog, oneDevice } from './backlog.ts'
import { connects, idle } from './connections.ts'
import type { Scenario } from './scenario.ts'
import { slowDisk } from './slow-disk.ts'
import { start, startMillion } from './start.ts'
import { closedLoop, openLoop } from './throughput.ts'

const PEER_KILL_ROUNDS = 3

/** SIGKILL under load, restart, reconnect, drain: once, not once per round. Peers get a few rounds for comparison. */
const kill: Scenario = {
  name: 'kill',
  title: 'kill -9 under load',
  figure: 'lost',
  unit: 'acknowledged and lost',
  heliographOnly: false,
  runsMax: 1,
  run: async (kind, { killRounds, note }) => {
    const rounds = kind.name === 'heliograph' ? killRounds : Math.min(killRounds, PEER_KILL_ROUNDS)
    return { ...(await killLane(kind, { ...killDefaults, rounds, note })) }
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
