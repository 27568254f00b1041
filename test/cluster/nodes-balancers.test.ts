/** The examples of deploy/ for HAProxy and nginx, started as they are but for addresses and ports, two nodes behind. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import mqtt from 'mqtt'
import type { MadeDevice } from '../api/node.ts'
import { isOnPath, whenInstalled } from '../clients/programs.ts'
import type { MainProcess } from '../listeners/main-process.ts'
import { freePort } from '../services/ports.ts'
import { clientOn } from '../world/client.ts'
import { connectAgain, type Deployment, openDeployment } from './nodes-scene.ts'

/** Spread by their ids: each node gets some. */
const DEVICES = 12

const DEPLOY = fileURLToPath(new URL('../../deploy', import.meta.url))

interface Balancer {
  readonly mqttPort: number
  readonly httpPort: number
  stop(): Promise<void>
}

interface Scene {
  readonly deployment: Deployment
  readonly devices: readonly MadeDevice[]
  readonly nodes: { readonly one: MainProcess; readonly two: MainProcess }
  readonly balancer: Balancer
}

/** Addresses and ports of the example become ours; nothing else of it changes. */
async function startBalancer(
  file: string,
  { folder }: Deployment,
  nodes: readonly MainProcess[],
  run: (config: string) => ChildProcess,
): Promise<Balancer> {
  const mqttPort = await freePort()
  const httpPort = await freePort()
  let text = readFileSync(join(DEPLOY, file), 'utf8')
  const replace = (from: RegExp, to: string): void => {
    assert.match(text, from, `${file} has ${from}`)
    text = text.replace(from, to)
  }
  for (const [i, node] of nodes.entries()) {
    const address = `10\\.0\\.0\\.${i + 1}`
    if (file === 'haproxy.cfg') {
      replace(new RegExp(`${address}:1883 port 8080`), `127.0.0.1:${node.mqttPort} port ${node.httpPort}`)
    } else replace(new RegExp(`${address}:1883`), `127.0.0.1:${node.mqttPort}`)
    replace(new RegExp(`${address}:8080`), `127.0.0.1:${node.httpPort}`)
  }
  const listens = file === 'haproxy.cfg' ? ['bind :', ''] : ['listen ', ';']
  replace(
    new RegExp(`${listens[0]}1883${listens[1]}`),
    `${listens[0]?.replace(':', '')}127.0.0.1:${mqttPort}${listens[1]}`,
  )
  replace(
    new RegExp(`${listens[0]}8080${listens[1]}`),
    `${listens[0]?.replace(':', '')}127.0.0.1:${httpPort}${listens[1]}`,
  )
  const config = join(folder, file)
  writeFileSync(config, text)
  const child = run(config)
  const endWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', endWithUs)
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    said += more
  })
  const ended = once(child, 'exit')
  for (let tries = 0; ; tries++) {
    const answer = await fetch(`http://127.0.0.1:${httpPort}/readyz`).catch(() => undefined)
    if (answer?.status === 200) break
    if (tries === 100 || child.exitCode !== null) throw new Error(`${file} does not serve: ${said}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return {
    mqttPort,
    httpPort,
    async stop() {
      process.removeListener('exit', endWithUs)
      child.kill('SIGTERM')
      // Connections that are open keep either of them for long.
      const late = setTimeout(() => child.kill('SIGKILL'), 1_000)
      await ended
      clearTimeout(late)
    },
  }
}

/** Where Debian has it, also when that is not on the PATH. */
function find(command: string): string | undefined {
  return [command, `/usr/sbin/${command}`].find((each) => isOnPath(each))
}

/** What holds behind either: devices come through, are moved when a node dies, and have their backlog. */
function balanced(
  file: string,
  settings: Record<string, string>,
  run: (config: string) => ChildProcess,
  more: (scene: () => Scene) => void,
): void {
  describe(`deploy/${file}`, function () {
    this.timeout(90_000)
    let scene: Scene | undefined
    before(async () => {
      const deployment = await openDeployment(settings)
      const devices = await deployment.make({ kind: 'thing', prefix: 'lb', count: DEVICES })
      const nodes = { one: await deployment.start('one'), two: await deployment.start('two') }
      const balancer = await startBalancer(file, deployment, [nodes.one, nodes.two], run)
      scene = { deployment, devices, nodes, balancer }
    })
    after(async () => {
      await scene?.balancer.stop()
      await scene?.deployment.stop()
    })

    it('keeps the admin API and the metrics to itself, and lets the rest of HTTP through', async () => {
      const status = async (path: string) =>
        (await fetch(`http://127.0.0.1:${(scene as Scene).balancer.httpPort}${path}`)).status
      assert.equal(await status('/readyz'), 200)
      assert.equal(await status('/v1/account'), 401)
      assert.equal(await status('/v1/admin/devices'), 403)
      assert.equal(await status('/metrics'), 403)
    })

    it('carries MQTT over WebSocket', async () => {
      const device = (scene as Scene).devices[0] as MadeDevice
      const client = await mqtt.connectAsync(`ws://127.0.0.1:${(scene as Scene).balancer.httpPort}/v1/ws`, {
        clientId: device.device,
        username: device.device,
        password: device.token,
        clean: false,
      })
      const [granted] = await client.subscribeAsync(`d/${device.device}/from/#`, { qos: 1 })
      assert.equal(granted?.qos, 1)
      await client.endAsync()
    })

    more(() => scene as Scene)

    it('moves the devices of a node that is killed to the other one, where each has its backlog', async () => {
      const { deployment, devices, nodes, balancer } = scene as Scene
      const clients = await Promise.all(devices.map((device) => connectAgain(device, balancer.mqttPort)))
      for (const [i, client] of clients.entries()) await client.subscribe(`d/${devices[i]?.device}/from/#`)
      const claims = await deployment.claims(devices)
      const killed = claims.get(devices[0]?.device as string) as 'one' | 'two'
      const other = killed === 'one' ? 'two' : 'one'
      const moved = devices.filter(({ device }) => claims.get(device) === killed)
      nodes[killed].signal('SIGKILL')
      const cut = clients.filter((_, i) => moved.includes(devices[i] as MadeDevice))
      await Promise.all(cut.map((client) => client.closed()))
      const sender = await connectAgain(moved[0] as MadeDevice, balancer.mqttPort)
      for (const { device } of moved) {
        if (device !== moved[0]?.device) await sender.publish(`d/${moved[0]?.device}/raw/d-${device}`, `for ${device}`)
      }
      const back = await Promise.all(moved.slice(1).map((device) => connectAgain(device, balancer.mqttPort)))
      for (const [i, client] of back.entries()) {
        const [message] = await client.receive(1, 15_000)
        assert.equal(String(message?.payload), `for ${moved[i + 1]?.device}`)
      }
      const now = await deployment.claims(moved)
      for (const { device } of moved) assert.equal(now.get(device), other)
      for (const client of [...clients, ...back, sender]) client.destroy()
    })
  })
}

const haproxy = find('haproxy')
whenInstalled(haproxy !== undefined, 'apt-get install haproxy', () => {
  const run = (config: string) =>
    spawn(haproxy as string, ['-db', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  balanced('haproxy.cfg', { PROXY_PROTOCOL: 'yes', HTTP_PROXY_PROTOCOL: 'yes' }, run, (scene) => {
    it('leads a client id to the same node each time, and uses both', async () => {
      const { deployment, devices, balancer } = scene()
      const seen: Map<string, string>[] = []
      for (let round = 0; round < 3; round++) {
        const clients = await Promise.all(devices.map((device) => connectAgain(device, balancer.mqttPort)))
        seen.push(await deployment.claims(devices))
        for (const client of clients) await client.disconnect()
        await deployment.unclaimed()
      }
      const ids = devices.map(({ device }) => device)
      for (const id of ids) {
        for (const round of seen) assert.equal(round.get(id), seen[0]?.get(id), id)
      }
      assert.deepEqual(new Set(ids.map((id) => seen[0]?.get(id))), new Set(['one', 'two']))
    })

    it('tells the nodes where a connection is from', async () => {
      const { nodes, balancer, devices } = scene()
      const socket = connect({ port: balancer.mqttPort, host: '127.0.0.1', localAddress: '127.0.0.77' })
      const client = clientOn(socket, true)
      const { device } = devices[0] as MadeDevice
      client.send({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clientId: device,
        username: device,
        password: Buffer.from('wrong'),
        clean: true,
        keepalive: 60,
      })
      await client.closed()
      await Promise.any([nodes.one, nodes.two].map((node) => node.printed(/"address":"127\.0\.0\.77"/)))
    })

    it('does not let through what is no MQTT', async () => {
      const { balancer } = scene()
      const socket = connect({ port: balancer.mqttPort, host: '127.0.0.1' })
      const client = clientOn(socket, true)
      client.sendBytes(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
      await client.closed(10_000)
      assert.equal(client.packets.length, 0)
    })
  })
})

const nginx = find('nginx')
whenInstalled(nginx !== undefined, 'apt-get install nginx libnginx-mod-stream', () => {
  const run = (config: string) => {
    const own = `daemon off; pid ${config}.pid; error_log stderr;`
    return spawn(nginx as string, ['-c', config, '-g', own], { stdio: ['ignore', 'ignore', 'pipe'] })
  }
  balanced('nginx.conf', { HANDSHAKES_PER_ADDRESS_MAX: '4096' }, run, () => undefined)
})
