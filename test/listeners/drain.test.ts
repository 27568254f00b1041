import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { sliceEveryMs } from '../../broker/drain.ts'
import { limits } from '../../topics/limits.ts'
import { type MadeDevice, OBSERVER_PASSWORD } from '../api/node.ts'
import { connectClient } from '../world/client.ts'
import { startMain, temporaryFolder } from './main-process.ts'

const DEVICES = 500
const SLICE = 50
const TIMEOUT_MS = 10_000
/** Closer together than any two slices are begun, further apart than the sockets of one slice end. */
const GAP_MS = 8

describe('a node that stops', function () {
  this.timeout(60_000)
  const { folder, clean } = temporaryFolder()
  after(clean)

  const login = (port: number, { device, token }: MadeDevice) => ({
    port,
    clientId: device,
    username: device,
    password: token,
    clean: false,
    keepalive: 60,
  })

  it(`ends ${DEVICES} connections in slices within its time, and nobody hears a will`, async () => {
    const path = join(folder, 'many')
    mkdirSync(path)
    const env = { DRAIN_SLICE_CONNECTIONS_MAX: String(SLICE), DRAIN_TIMEOUT_MS: String(TIMEOUT_MS) }
    const main = await startMain(path, { ...env, HANDSHAKES_PER_ADDRESS_MAX: '1000' })
    const devices = await main.make({ kind: 'thing', prefix: 'w', count: DEVICES + 1 })
    const away = devices.pop() as MadeDevice
    const reader = await connectClient(login(main.mqttPort, away))
    await reader.subscribe(`d/${away.device}/from/#`)
    await reader.disconnect()
    const [sender] = devices as [MadeDevice]
    const observer = await connectClient({
      ...login(main.mqttPort, sender),
      clientId: 'watcher',
      username: 'observer',
      password: OBSERVER_PASSWORD,
      clean: true,
    })
    await observer.subscribe('#')
    const clients = await Promise.all(
      devices.map((device) => {
        const will = { topic: `d/${device.device}/gone`, payload: Buffer.from('died'), qos: 1 as const, retain: false }
        return connectClient({ ...login(main.mqttPort, device), will })
      }),
    )
    await clients[0]?.publish(`d/${sender.device}/raw/d-${away.device}`, 'waits')
    const endedMs: number[] = []
    for (const { socket } of clients) socket.once('end', () => endedMs.push(performance.now()))
    const sinceMs = performance.now()
    main.signal('SIGTERM')
    await main.printed(/stopping: no new connections/)
    const ready = await fetch(`http://127.0.0.1:${main.httpPort}/readyz`).catch(() => undefined)
    if (ready !== undefined) {
      assert.equal(ready.status, 503)
      assert.match(await ready.text(), /"process","why":"shutting_down"/)
    }
    const { code } = await main.ended
    assert.ok(performance.now() - sinceMs < TIMEOUT_MS)
    assert.equal(code, 0)
    assert.equal(endedMs.length, DEVICES)
    const gaps = endedMs.filter((at, i) => i > 0 && at - (endedMs[i - 1] as number) > GAP_MS).length
    assert.ok(gaps >= DEVICES / SLICE / 2, `they ended in ${gaps + 1} bursts`)
    const heard = observer.received.map(({ topic }) => topic).filter((topic) => topic.startsWith('d/'))
    assert.deepEqual(heard, [])

    const next = await startMain(path)
    const back = await connectClient(login(next.mqttPort, away))
    const [waiting] = await back.receive(1)
    assert.equal(String(waiting?.payload), 'waits')
    back.destroy()
    next.signal('SIGTERM')
    assert.equal((await next.ended).code, 0)
  })

  it('has a pace that fits into its time, however many there are', () => {
    const pace = { sliceConnectionsMax: 100, timeoutMs: 15_000 }
    assert.equal(sliceEveryMs(1, 9_000, pace), limits.drainSliceEveryMs)
    assert.equal(sliceEveryMs(10_000, 9_000, pace), limits.drainSliceEveryMs)
    assert.equal(sliceEveryMs(100_000, 9_000, pace), 9)
    assert.equal(sliceEveryMs(100_000, -1, pace), 0)
    assert.equal(sliceEveryMs(0, 9_000, pace), limits.drainSliceEveryMs)
  })
})
