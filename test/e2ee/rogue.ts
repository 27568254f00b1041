/**
 * A peer that does not keep to the rules: a registered device with real sessions, whose contents, bodies and envelopes
 * are what a test says. Built from the parts of the SDK, without its receiver and its outbox.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Context, idBytes } from '../../client/context.ts'
import { type Body, createCipher } from '../../client/crypto/cipher.ts'
import { accountIn, createEnrolment } from '../../client/devices/register.ts'
import { createApi } from '../../client/http/api.ts'
import { contentFor, newContentId } from '../../client/outbox/outbox-rows.ts'
import { startSessions } from '../../client/outbox/start-sessions.ts'
import { devicesOf } from '../../client/store/device-lists.ts'
import { openStore } from '../../client/store/open.ts'
import {
  type Content,
  type Delivery,
  decodeDelivery,
  encodeSendRequest,
  type Fields,
  type PlainDeviceBody,
  pad,
  SCOPE,
  type Scope,
} from '../../topics/codec.ts'
import { inboxFilterOf, topicOf } from '../../topics/topic.ts'
import { type Client, connectClient } from '../world/client.ts'
import { codeOf } from '../world/person.ts'
import type { Party, Scene } from './scene.ts'

export interface Rogue {
  readonly context: Context
  readonly user: string
  readonly client: Client
  /** Everything that came. */
  received(): Delivery[]
  /** Content as the SDK makes it. */
  content(to: Party, fields: Fields<Content>, id?: Uint8Array): Uint8Array
  /** Encrypts these bytes for the first device of `to`: they should be padded. */
  encrypt(to: Party, padded: Uint8Array): Promise<Body>
  /** Publishes a body to the first device of `to`, under a new stamp. */
  post(to: Party, body: Fields<PlainDeviceBody>, scope?: Scope): Promise<void>
  /** All three; the bytes are padded here. */
  say(to: Party, content: Uint8Array): Promise<void>
  /** A text as an honest client says it. */
  text(to: Party, text: string): Promise<void>
  stop(): void
}

export async function startRogue(scene: Scene): Promise<Rogue> {
  const { node, now } = scene
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-rogue-'))
  const store = openStore(folder, { keyFile: join(folder, 'key') }, 'PRAGMA synchronous = OFF')
  const account = accountIn(store, node.url)
  const api = createApi(node.url, () => account.token || undefined)
  const cipher = createCipher(store, account, now)
  let row = 1
  const context: Context = { store, account, cipher, api, emit: () => undefined, now, nextRow: () => row++ }
  const phone = scene.newPhone()
  await api.askCode(phone)
  await createEnrolment(store, account, api, now).enrol({ phone, code: codeOf(node.folder, phone) }, true)
  const { device, token } = account
  const client = await connectClient({
    port: node.node.server.mqttPort,
    clientId: device,
    username: device,
    password: token,
    clean: false,
    keepalive: 60,
  })
  await client.subscribe(inboxFilterOf(device, 'person'))
  let stamp = now()
  const first = async (to: Party) => {
    const devices = await store.turn(() => devicesOf(store, to.user))
    const [one] = devices ?? []
    if (one === undefined) throw new Error('the peer has no device')
    return one
  }
  const rogue: Rogue = {
    context,
    user: account.user,
    client,
    received: () =>
      client.received.map(({ payload }) => decodeDelivery(payload)).filter((each): each is Delivery => !each.fault),
    content: (to, fields, id = newContentId(now())) => contentFor(context, to.user, id, fields),
    async encrypt(to, padded) {
      const readiness = await startSessions(context, to.user)
      if (readiness !== 'ready') throw new Error(`no session: ${JSON.stringify(readiness)}`)
      const { number } = await first(to)
      return store.turn(() => cipher.encrypt(to.user, number, padded))
    },
    async post(to, body, scope = SCOPE.message) {
      const { number, registrationId } = await first(to)
      const devices = [{ device: number, registrationId, ...body }]
      const pair = { peer: idBytes(to.user), devices, own: [], scope }
      await client.publish(topicOf('out', { device }), encodeSendRequest({ stamp: ++stamp, pair }))
    },
    async say(to, content) {
      const { field, bytes } = await rogue.encrypt(to, pad(content))
      await rogue.post(to, { [field]: bytes })
    },
    text: (to, text) => rogue.say(to, rogue.content(to, { post: { text } })),
    stop() {
      client.destroy()
      store.abandon()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return rogue
}
