/** Window 10 on a disk whose fsyncs take 5 ms longer, against the same without: does the event loop wait for them? */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { type RunningServer, removeFolder, temporaryFolder } from '../servers/server.ts'
import { type Scenario, withServer } from './scenario.ts'
import { runClosedLoop } from './throughput.ts'

const SOURCE = join(import.meta.dirname, '..', 'slow-fsync.c')
const GAUGE = 'heliograph_event_loop_delay_p999_seconds'
/** The gauge tells the worse of two windows of 10 s, the running one and the last. */
const GAUGE_MEMORY_S = 21
const WINDOW = 10

export const slowDisk: Scenario = {
  name: 'slow-disk',
  title: 'raw, window 10, fsync 5 ms slower',
  figure: 'loopDelayP999Ms',
  unit: 'event-loop delay p99.9 ms',
  heliographOnly: true,
  async run(kind, settings) {
    const folder = temporaryFolder('shim')
    try {
      const shim = compileShim(folder)
      const normal = await withServer(kind, (server) => runClosedLoop(server, 'raw', WINDOW, settings))
      // Long enough that the gauge no longer remembers how 400 clients connected.
      const warmupS = settings.quick ? settings.warmupS : Math.max(settings.warmupS, GAUGE_MEMORY_S - settings.seconds)
      const { seconds } = settings
      const slow = await withServer(
        kind,
        (server) =>
          runClosedLoop(server, 'raw', WINDOW, { seconds, warmupS }, async () => ({
            loopDelayP999Ms: 1000 * (await readGauge(server, GAUGE)),
          })),
        { LD_PRELOAD: shim },
      )
      return { ...slow, normalMsgPerS: normal.msgPerS ?? 0, ratio: (slow.msgPerS ?? 0) / (normal.msgPerS ?? 1) }
    } finally {
      removeFolder(folder)
    }
  },
}

function compileShim(folder: string): string {
  const shim = join(folder, 'slow-fsync.so')
  const { status, stderr, error } = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', shim, SOURCE, '-ldl'])
  if (status !== 0) throw new Error(`cc could not build slow-fsync.c: ${error?.message ?? stderr}; install gcc`)
  return shim
}

async function readGauge(server: RunningServer, name: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}/metrics`)
  const line = (await response.text())
    .split('\n')
    .find((text) => text.startsWith(`${name} `) || text.startsWith(`${name}{`))
  if (line === undefined) throw new Error(`/metrics has no ${name}`)
  return Number(line.slice(line.lastIndexOf(' ') + 1))
}
