/** Claims and wakes of several nodes on one Redis (B4, B5): takeover, eviction, and what a node hears that missed something. */
import assert from 'node:assert/strict'
import type { OpenedRedis } from '../../adapters/redis/index.ts'
import { type ClaimHolder, ROW_FRAME, type Row } from '../../core/ports.ts'
import { type OwnRedis, openScene, type Scene, startOwnRedis, until } from './redis-scene.ts'

/** Claims are compared so often (adapters/redis/claims.ts). */
const COMPARED_MS_MAX = 20_000

interface Node {
  readonly name: string
  readonly redis: OpenedRedis
  /** `device seq`: 0 says that the device looks at its inbox, whatever is there; `lost` and `gap` of what is heard. */
  readonly woken: string[]
  readonly lost: string[]
  /** Claims the device, and resolves when all nodes know. */
  claim(device: string): Promise<number>
}

let names = 0

function row(device: string, seq: number): Row {
  const source = Buffer.from('bytes')
  return { device, seq, sub: 0, kind: ROW_FRAME, peer: '', expiresMs: 0, source, start: 0, end: source.length }
}

async function startNode(scene: Scene, url?: string): Promise<Node> {
  const name = `node${++names}`
  const woken: string[] = []
  const lost: string[] = []
  const note = ({ device, seq }: Pick<Row, 'device' | 'seq'>) => void woken.push(`${device} ${seq}`)
  const hears = {
    onRows: (rows: readonly Row[]) => rows.forEach(note),
    onWatermark: () => undefined,
    onLost: () => void woken.push('lost'),
    onGap: () => void woken.push('gap'),
  }
  const redis = await scene.node({ node: name, hears }, url)
  const holder = (device: string): ClaimHolder => ({
    onWake: (each) => {
      note(each)
      return false
    },
    onLost: (reason) => void lost.push(`${device} ${reason}`),
  })
  return {
    name,
    redis,
    woken,
    lost,
    async claim(device) {
      const epoch = redis.claims.claim(device, holder(device))
      await redis.claims.known(device, epoch)
      return epoch
    },
  }
}

describe('claims of several nodes', () => {
  let scene: Scene
  let one: Node
  let other: Node
  const claimsKey = () => `${scene.prefix}{claims}:devices`
  beforeEach(async () => {
    scene = await openScene()
    one = await startNode(scene)
    other = await startNode(scene)
  })
  afterEach(() => scene.close())

  it('end at the node that had the device when another one takes it, and wakes go to the other', async () => {
    await one.claim('a')
    await other.claim('a')
    await until(() => one.lost.length > 0, 'the first node hears of it')
    assert.deepEqual(one.lost, ['a takeover'])
    await one.redis.wakes.hand([row('a', 7)])
    await until(() => other.woken.includes('a 7'), 'the wake')
    assert.ok(!one.woken.includes('a 7'))
    assert.deepEqual(other.lost, [])
  })

  it('are not given back by who lost them', async () => {
    const epoch = await one.claim('a')
    await other.claim('a')
    await until(() => one.lost.length > 0, 'the first node hears of it')
    one.redis.claims.release('a', epoch)
    await one.redis.wakes.hand([row('a', 7)])
    await until(() => other.woken.includes('a 7'), 'the wake')
  })

  it('are evicted wherever they are, with the reason', async () => {
    await one.claim('a')
    other.redis.claims.evict('a', 'revoked')
    await until(() => one.lost.length > 0, 'the eviction')
    assert.deepEqual(one.lost, ['a revoked'])
    other.redis.claims.evict('nobody', 'revoked')
  })

  it('carry wakes for many devices and nodes in one call; who is not connected is left out', async () => {
    const mine = Array.from({ length: 700 }, (_, i) => `m${i}`)
    const theirs = Array.from({ length: 700 }, (_, i) => `t${i}`)
    await Promise.all([...mine.map((device) => one.claim(device)), ...theirs.map((device) => other.claim(device))])
    const rows = [...mine, ...theirs, 'nobody'].map((device, i) => row(device, i + 1))
    assert.deepEqual(await one.redis.wakes.hand(rows), ['nobody'])
    const woken = ({ woken: all }: Node) => new Set(all.filter((text) => !text.endsWith(' 0'))).size
    await until(() => woken(one) === 700 && woken(other) === 700, 'every wake, once')
  })

  it('whose node does not hear for a while: it says so, and that it hears again', async () => {
    await one.claim('a')
    await scene.redis.client('KILL', 'TYPE', 'PUBSUB')
    await until(() => one.woken.includes('gap'), 'it hears again')
    assert.ok(one.woken.indexOf('lost') >= 0 && one.woken.indexOf('lost') < one.woken.indexOf('gap'))
    await other.redis.wakes.hand([row('a', 9)])
    await until(() => one.woken.includes('a 9'), 'a wake')
  })

  it('are all looked at again when their node says so', async () => {
    await one.claim('a')
    await one.claim('b')
    one.woken.length = 0
    one.redis.wakeAll()
    assert.deepEqual([...one.woken].sort(), ['a 0', 'b 0'])
  })

  it('that another node has are lost at the comparison, when what was told of them was missed', async () => {
    await one.claim('a')
    await one.claim('b')
    // As after a pause that was longer than the stream is kept: nobody told.
    await scene.redis.hset(claimsKey(), 'a', `${other.name}:99`)
    await until(() => one.lost.length > 0, 'the comparison')
    assert.deepEqual(one.lost, ['a takeover'])
    assert.equal(one.redis.facts()['claims'], 1)
  }).timeout(COMPARED_MS_MAX)

  it('that the store forgot are said again at the comparison, and their devices look at once', async () => {
    await one.claim('a')
    const claim = await scene.redis.hget(claimsKey(), 'a')
    await scene.redis.del(claimsKey())
    one.woken.length = 0
    await until(() => one.woken.length > 0, 'the comparison')
    assert.deepEqual(one.woken, ['a 0'])
    assert.equal(await scene.redis.hget(claimsKey(), 'a'), claim)
    await other.redis.wakes.hand([row('a', 5)])
    await until(() => one.woken.includes('a 5'), 'a wake')
  }).timeout(COMPARED_MS_MAX)
})

describe('claims on a Redis that is started again', () => {
  let server: OwnRedis
  let scene: Scene
  before(async () => {
    server = await startOwnRedis()
    scene = await openScene(server.url)
  })
  after(async () => {
    await scene.close()
    await server.stop()
  })

  it('hear of the gap: what was told meanwhile is gone', async () => {
    const node = await startNode(scene)
    await node.claim('a')
    node.woken.length = 0
    await server.kill()
    await server.start()
    await until(() => node.woken.includes('gap'), 'the gap')
  })
})
