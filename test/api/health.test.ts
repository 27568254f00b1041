import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { type MadeDevice, startTestNode, type TestNode } from './node.ts'

/** name{labels} → value of a Prometheus page. */
function samplesOf(page: string): Map<string, number> {
  const lines = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

describe('the health of a node', () => {
  let test: TestNode
  before(async () => {
    test = await startTestNode()
  })
  after(() => test.stop())

  it('is alive and ready', async () => {
    const alive = await test.ask('/livez')
    assert.deepEqual([alive.status, alive.body], [200, { status: 'ok' }])
    const ready = await test.ask('/readyz')
    assert.deepEqual([ready.status, ready.body], [200, { status: 'ready', missing: [] }])
  })

  it('is counted for Prometheus: traffic, refusals by code, ended connections by reason, the process', async () => {
    const [a, b] = (await test.make({ kind: 'thing', prefix: 'h', count: 2 })) as [MadeDevice, MadeDevice]
    const receiver = await test.connect(b)
    await receiver.subscribe('d/h2/from/#')
    const sender = await test.connect(a)
    await sender.subscribe('d/h1/from/#')
    await sender.publish('d/h1/raw/d-h2', 'counted')
    await sender.publish('d/h1/raw/d-nobody', 'refused')
    await receiver.receive(1)
    await receiver.ping()
    const intruder = await test.connect({ ...a, token: 'wrong' })
    await intruder.closed()
    sender.post('d/h2/raw/d-h1', 'foreign')
    await sender.closed()
    const response = await fetch(`${test.url}/metrics`)
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    const samples = samplesOf(await response.text())
    assert.equal(samples.get('heliograph_publishes_received_total'), 2)
    assert.equal(samples.get('heliograph_publishes_sent_total'), 1)
    assert.equal(samples.get('heliograph_stored_total'), 1)
    assert.equal(samples.get('heliograph_acknowledged_total'), 1)
    assert.equal(samples.get('heliograph_refusals_total{code="unknown_recipient"}'), 1)
    assert.equal(samples.get('heliograph_disconnects_total{reason="foreign_topic"}'), 1)
    assert.equal(samples.get('heliograph_rejections_total{reason="bad_credentials"}'), 1)
    assert.equal(samples.get('heliograph_connections'), 1)
    assert.equal(samples.get('heliograph_connections_max'), 2)
    assert.equal(samples.get('heliograph_held_bytes'), 0)
    assert.equal(samples.get('heliograph_intake_refusing{code="none"}'), 0)
    assert.ok((samples.get('heliograph_process_resident_bytes') ?? 0) > 1e7)
    assert.ok((samples.get('heliograph_process_cpu_seconds_total') ?? 0) > 0)
    for (const part of ['p50', 'p99', 'p999']) {
      const seconds = samples.get(`heliograph_event_loop_delay_${part}_seconds`) ?? -1
      assert.ok(seconds >= 0 && seconds < 5, `${part} is ${seconds}`)
    }
    for (const name of samples.keys()) assert.match(name, /^heliograph_/)
  })

  it('is explained name by name in docs/operations.md', async () => {
    const page = await (await fetch(`${test.url}/metrics`)).text()
    const exported = [...page.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
    const document = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')
    const rows = document.split('\n').filter((line) => line.startsWith('| `heliograph_'))
    const explained = rows.flatMap((line) => [...line.matchAll(/`(heliograph_\w+)`/g)].map(([, name]) => name))
    assert.ok(exported.length > 25)
    assert.deepEqual(explained.sort(), exported.sort())
  })

  it('says how many jobs failed for good, by queue', async function () {
    this.timeout(20_000)
    const { jobs } = test.node.server.opened
    const rules = { concurrency: 1, attemptsMax: 1, backoffMs: 1, waitingMax: 1, deadMax: 1 }
    const queue = jobs.queue('bad', rules)
    const stop = queue.work(() => Promise.reject(new Error('never')))
    await queue.add({ id: 'a', data: 1 })
    while ((await queue.counts()).dead === 0) await new Promise(setImmediate)
    await stop()
    const ask = async () => samplesOf(await (await fetch(`${test.url}/metrics`)).text())
    let samples = await ask()
    // A cluster looks at its queues each five seconds.
    const deadline = performance.now() + 8_000
    while (samples.get('heliograph_dead_jobs{queue="bad"}') !== 1 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      samples = await ask()
    }
    assert.equal(samples.get('heliograph_dead_jobs{queue="bad"}'), 1)
    assert.equal(samples.get('heliograph_dead_jobs{queue="push"}'), 0)
  })

  it('says nothing of a way that only the cluster has', async () => {
    const samples = samplesOf(await (await fetch(`${test.url}/metrics`)).text())
    const ofTheWay = /watermark|shard_backlog|held_rows|devices_behind|hearing_gaps/
    assert.deepEqual(
      [...samples.keys()].filter((name) => ofTheWay.test(name)),
      [],
    )
  })

  it('names no device and no user', async () => {
    const page = await (await fetch(`${test.url}/metrics`)).text()
    assert.doesNotMatch(page, /\bh[12]\b|nobody/)
  })

  it('shows a loop that was held up', async () => {
    // One delay among 2,000 looks would hide above p99.9; 20 of them may not.
    for (let i = 0; i < 20; i++) {
      const until = performance.now() + 30
      while (performance.now() < until);
      await test.ask('/livez')
    }
    const samples = samplesOf(await (await fetch(`${test.url}/metrics`)).text())
    const worst = samples.get('heliograph_event_loop_delay_p999_seconds') ?? 0
    assert.ok(worst >= 0.02 && worst < 1, `${worst} s`)
  })
})

describe('a node that takes no new work', () => {
  it('is alive but not ready, and says that the disk is full', async () => {
    const test = await startTestNode({ DISK_FREE_MIB_MIN: '999999999' })
    const { status, body } = await test.ask('/readyz')
    assert.deepEqual([status, body], [503, { status: 'not ready', missing: [{ what: 'intake', why: 'disk_full' }] }])
    assert.equal((await test.ask('/livez')).status, 200)
    assert.match(String((await test.ask('/metrics')).body['text']), /heliograph_intake_refusing\{code="disk_full"\} 1/)
    await test.stop()
  })

  it('is not ready from the moment it drains, while it still answers', async () => {
    const test = await startTestNode()
    const [made] = (await test.make({ kind: 'thing' })) as [MadeDevice]
    // A peer that does not close keeps the drain waiting.
    const peer = connect({ port: test.node.server.mqttPort, host: '127.0.0.1', allowHalfOpen: true })
    await once(peer, 'connect')
    assert.equal((await test.connect(made)).connack?.returnCode, 0)
    const drained = test.node.drain()
    const { status, body } = await test.ask('/readyz')
    assert.deepEqual([status, body['missing']], [503, [{ what: 'process', why: 'shutting_down' }]])
    assert.equal((await test.ask('/livez')).status, 200)
    peer.destroy()
    await drained
    await assert.rejects(fetch(`${test.url}/livez`))
    await test.stop()
  })
})
