import assert from 'node:assert/strict'
import { numbered } from '../suites/broker.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'
import { isOnPath, run, start, whenInstalled } from './programs.ts'

const WAITING = 3_000
const SENSORS = 20
const areThere = isOnPath('mosquitto_pub') && isOnPath('mosquitto_sub')

describe('mosquitto_pub and mosquitto_sub', () => {
  whenInstalled(areThere, 'apt-get install mosquitto-clients', () => {
    let world: World
    before(async () => {
      world = await startWorld()
    })
    after(() => world.stop())

    const login = ({ id, token }: TestDevice) => {
      return ['-h', '127.0.0.1', '-p', String(world.server.mqttPort), '-i', id, '-u', id, '-P', token, '-q', '1']
    }
    const publish = (from: TestDevice, topic: string, text: string) =>
      run('mosquitto_pub', [...login(from), '-t', topic, '-m', text])
    /** -c: the session outlives the connection; -E: ends once it is subscribed; -C n: ends after n messages. */
    const subscription = (of: TestDevice, ...more: string[]) => [...login(of), '-c', '-t', `d/${of.id}/from/#`, ...more]
    const connects = () => world.server.metrics.connects

    it('get 3,000 messages that waited, in order, in one connection, and then live ones', async () => {
      const [a, b] = [await world.thing('a'), await world.thing('b')]
      await run('mosquitto_sub', subscription(b, '-V', 'mqttv311', '-E'))
      const waiting = numbered('waiting', WAITING)
      await run('mosquitto_pub', [...login(a), '-V', 'mqttv311', '-t', 'd/a/raw/d-b', '-l'], `${waiting.join('\n')}\n`)
      const before = connects()
      const receiver = start('mosquitto_sub', subscription(b, '-V', 'mqttv311', '-C', String(WAITING + 2)))
      assert.deepEqual(await receiver.printed(WAITING), waiting)
      assert.equal(connects() - before, 1)
      await publish(a, 'd/a/raw/d-b', 'live 0')
      await publish(a, 'd/a/raw/d-b', 'live 1')
      assert.deepEqual(await receiver.ended, { code: 0, said: '' })
      assert.deepEqual(receiver.lines, [...waiting, 'live 0', 'live 1'])
      assert.equal(connects() - before, 3)
    })

    it('carry a fleet: readings to the service, commands back, answers to the name in the topic', async () => {
      const service = await world.service('svc', 'plant')
      const desk = await world.sibling(service, 'desk')
      const sensors: TestDevice[] = []
      for (let i = 0; i < SENSORS; i++) sensors.push(await world.thing(`s${i}`, service))
      const home = start('mosquitto_sub', subscription(service, '-v'))
      await Promise.all(sensors.map((sensor) => publish(sensor, `d/${sensor.id}/raw/home`, `reading of ${sensor.id}`)))
      const readings = await home.printed(SENSORS)
      const expected = sensors.map(({ id }) => `d/svc/from/d-${id}/direct reading of ${id}`)
      assert.deepEqual([...readings].sort(), expected.sort())

      const sensor = sensors[7] as TestDevice
      await run('mosquitto_sub', subscription(sensor, '-E'))
      await publish(desk, `d/desk/raw/d-${sensor.id}`, 'valve open')
      const [command] = await run('mosquitto_sub', subscription(sensor, '-v', '-C', '1'))
      assert.equal(command, `d/${sensor.id}/from/@plant/direct valve open`)
      const sender = command?.split('/')[3] as string
      await publish(sensor, `d/${sensor.id}/raw/${sender}`, 'done')
      const answers = (await home.printed(SENSORS + 1)).slice(SENSORS)
      assert.deepEqual(answers, [`d/svc/from/d-${sensor.id}/direct done`])
      home.kill()
      await home.ended
    })

    it('send a reading twice under one number, and it arrives once', async () => {
      const [a, b] = [await world.thing('once'), await world.thing('target')]
      await run('mosquitto_sub', subscription(b, '-E'))
      for (const n of [1, 2, 2, 1, 3]) await publish(a, `d/once/raw/d-target/${n}`, `reading ${n}`)
      const received = await run('mosquitto_sub', subscription(b, '-C', '3'))
      assert.deepEqual(received, ['reading 1', 'reading 2', 'reading 3'])
    })

    it('are told that a subscription to anything else is denied, and that a token is wrong', async () => {
      const [a, b] = [await world.thing('honest'), await world.thing('curious')]
      const denied = await start('mosquitto_sub', [...login(b), '-t', '#', '-t', `d/${a.id}/from/#`]).ended
      assert.match(denied.said, /All subscription requests were denied/)
      const stranger = await start('mosquitto_pub', [
        ...login({ ...a, token: b.token }),
        '-t',
        'd/honest/raw/home',
        '-m',
        'x',
      ]).ended
      assert.notEqual(stranger.code, 0)
      assert.match(stranger.said, /bad user name or password/)
    })

    it('are told that MQTT 5 is not spoken here', async () => {
      const a = await world.thing('modern')
      const { code, said } = await start('mosquitto_sub', subscription(a, '-V', 'mqttv5')).ended
      assert.notEqual(code, 0)
      assert.match(said, /protocol version/i)
    })
  })
})
