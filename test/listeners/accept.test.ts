import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { startWorld } from '../world/world.ts'

describe('a port under a storm', () => {
  it('gives several connections in one turn of the loop, and a second server does not share it', async () => {
    // Elsewhere a port has one socket.
    if (process.platform !== 'linux') return
    const world = await startWorld({ env: { DISK_RESERVE_MIB: '1' } })
    const port = world.server.mqttPort
    const sockets = Array.from({ length: 100 }, () => connect({ port, host: '127.0.0.1' }))
    for (const socket of sockets) socket.on('error', () => undefined)
    let most = 0
    let before = 0
    for (const deadline = Date.now() + 10_000; before < sockets.length && Date.now() < deadline; ) {
      await new Promise((resolve) => setImmediate(resolve))
      most = Math.max(most, world.server.openSockets() - before)
      before = world.server.openSockets()
    }
    assert.equal(before, sockets.length)
    assert.ok(most > 1, `at most ${most} in a turn`)
    await assert.rejects(startWorld({ env: { MQTT_PORT: String(port), DISK_RESERVE_MIB: '1' } }), /EADDRINUSE/)
    for (const socket of sockets) socket.destroy()
    await world.stop()
  })
})
