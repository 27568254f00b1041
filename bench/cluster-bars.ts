/** The bars of the cluster profile, on two cores that everything shares: engines, brokers, worker, generator. */
import { figure, less, more, type Row } from './bars.ts'

/** By how much more, in percent, a message costs with so many nodes than with one. */
function growth(nodes: number): Row['figure'] {
  return (of) => {
    const one = of('nodes-1', 'cpuSPer100k')
    const many = of(`nodes-${nodes}`, 'cpuSPer100k')
    return one === undefined || many === undefined || one === 0 ? undefined : (many / one - 1) * 100
  }
}

export const clusterBars: readonly Row[] = [
  more('raw, window 10, durable', 'messages/s', 4_000, 8_000, figure('raw-window-10', 'msgPerS')),
  less('CPU per message with 2 nodes, against 1', '% more', 15, 0, growth(2)),
  less('CPU per message with 4 nodes, against 1', '% more', 15, 0, growth(4)),
  less('BullMQ jobs per 1,000 messages at 5,000/s', 'jobs', 5, 1, figure('jobs', 'jobsPer1000')),
  less('PUBACK p99 at 1,000/s, raw', 'ms', 25, 12, figure('raw-1000', 'pubackP99Ms')),
  less('raw, window 10: acknowledged and lost', 'messages', 0, undefined, figure('raw-window-10', 'lost')),
  less('raw, window 10: out of order', 'messages', 0, undefined, figure('raw-window-10', 'misordered')),
]
