import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { numbered } from '../suites/broker.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'
import { run, start, whenInstalled } from './programs.ts'

const WAITING = 3_000
const SCRIPT = fileURLToPath(new URL('./paho-client.py', import.meta.url))
/** Debian's package is for Debian's Python, which need not be the first one on PATH. */
const python = ['python3', '/usr/bin/python3'].find(
  (command) => spawnSync(command, ['-c', 'import paho.mqtt.client']).status === 0,
)

describe('the Paho client of Python', () => {
  whenInstalled(python !== undefined, 'apt-get install python3-paho-mqtt', () => {
    const command = python as string
    let world: World
    before(async () => {
      world = await startWorld()
    })
    after(() => world.stop())

    const asDevice = ({ id, token }: TestDevice, ...more: string[]) => {
      // A token may begin with a hyphen.
      return [SCRIPT, '--port', String(world.server.mqttPort), '--id', id, `--token=${token}`, ...more]
    }

    it('gets 3,000 messages that waited, in order, in one connection, and then live ones', async () => {
      const [a, b] = [await world.thing('a'), await world.thing('b')]
      assert.deepEqual(await run(command, asDevice(b, '--subscribe', 'd/b/from/#')), ['session 0'])
      const waiting = numbered('waiting', WAITING)
      const publish = (texts: readonly string[]) =>
        run(command, asDevice(a, '--publish', 'd/a/raw/d-b'), `${texts.join('\n')}\n`)
      await publish(waiting)
      const before = world.server.metrics.connects
      const receiver = start(command, asDevice(b, '--count', String(WAITING + 1)))
      await receiver.printed(1 + WAITING)
      assert.equal(world.server.metrics.connects - before, 1)
      await publish(['live'])
      assert.deepEqual(await receiver.ended, { code: 0, said: '' })
      const expected = [...waiting, 'live'].map((text) => `d/b/from/d-a/direct ${text}`)
      assert.deepEqual(receiver.lines, ['session 1', ...expected])
    })

    it('sends a command to a thing, which answers to the name it finds in the topic', async () => {
      const service = await world.service('svc', 'plant')
      const sensor = await world.thing('s1', service)
      const home = start(
        command,
        asDevice(service, '--subscribe', 'd/svc/from/#', '--publish', 'd/svc/raw/d-s1', '--count', '1'),
        'open\n',
      )
      const subscribed = ['--subscribe', 'd/s1/from/#', '--count', '1']
      const [, order] = await run(command, asDevice(sensor, ...subscribed))
      assert.equal(order, 'd/s1/from/@plant/direct open')
      await run(command, asDevice(sensor, '--publish', `d/s1/raw/${order?.split('/')[3]}`), 'done\n')
      assert.deepEqual(await home.ended, { code: 0, said: '' })
      assert.deepEqual(home.lines, ['session 0', 'd/svc/from/d-s1/direct done'])
    })

    it('reads on its inbox why a publish was refused', async () => {
      const a = await world.thing('asker')
      const options = ['--subscribe', 'd/asker/from/#', '--publish', 'd/asker/raw/@nobody', '--count', '1']
      const [, line = ''] = await run(command, asDevice(a, ...options), 'x\n')
      const [topic, ...words] = line.split(' ')
      assert.equal(topic, 'd/asker/from/error/unknown_recipient')
      assert.equal((JSON.parse(words.join(' ')) as { to: string }).to, '@nobody')
    })
  })
})
