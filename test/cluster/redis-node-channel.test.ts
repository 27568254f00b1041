/** The connection on which a node hears: an operator is told when it was lost, and why. */
import assert from 'node:assert/strict'
import { connectionLimits, type Link, openLink } from '../../adapters/redis/connection.ts'
import { listenToNode, type NodeChannel } from '../../adapters/redis/node-channel.ts'
import { openScene, redisUrl, type Scene, until } from './redis-scene.ts'

const LOST = 'the connection on which this node hears of rows is lost, and made again: '

describe('the connection on which a node hears', () => {
  let scene: Scene
  let link: Link
  let channel: NodeChannel
  let reasons: string[]
  let gaps: number
  const user = `hears-${process.pid}`

  beforeEach(async () => {
    scene = await openScene()
    await scene.redis.acl('SETUSER', user, 'on', '>secret', '~*', '&*', '+@all')
    const url = new URL(redisUrl())
    url.username = user
    url.password = 'secret'
    link = await openLink(
      url.href,
      connectionLimits,
      async () => undefined,
      () => undefined,
    )
    reasons = []
    gaps = 0
    const ignore = () => undefined
    channel = await listenToNode(link, scene.prefix, 'node', {
      ...{ onLines: ignore, onRows: () => true, onWatermark: ignore, onLost: ignore },
      onGap: () => void gaps++,
      warn: (text) => void reasons.push(text.replace(LOST, '')),
    })
  })
  afterEach(async () => {
    channel.stop()
    link.close()
    await scene.redis.acl('DELUSER', user)
    await scene.close()
  })
  const kill = () => scene.redis.client('KILL', 'USER', user)

  it('says that it was closed, once for each loss', async () => {
    await kill()
    await until(() => gaps === 1, 'it hears again')
    assert.deepEqual(reasons, ['it was closed'])
    await kill()
    await until(() => gaps === 2, 'it hears again')
    assert.deepEqual(reasons, ['it was closed', 'it was closed'])
  })

  it('says that it does not hear, without being closed', async () => {
    await link.redis.unsubscribe()
    channel.published(1)
    await until(() => gaps === 1, 'it hears again')
    assert.deepEqual(reasons, ['a watermark was not heard within 2 s'])
  })

  it('says that it may not listen, once, however often it tries', async () => {
    let tries = 0
    link.redis.on('close', () => void tries++)
    await scene.redis.acl('SETUSER', user, 'resetchannels')
    await kill()
    await until(() => tries > 3, 'it tries again')
    const [closed, refused, ...more] = reasons
    assert.equal(closed, 'it was closed')
    assert.match(String(refused), /^SUBSCRIBE failed \(NOPERM /)
    assert.deepEqual(more, [])
    await scene.redis.acl('SETUSER', user, 'allchannels')
    await until(() => gaps === 1, 'it hears again')
  })
})
