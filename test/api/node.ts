/** A whole node in this process, with HTTP, on free ports and a temporary folder; and its admin API, over HTTP. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Node, startNode } from '../../broker/lifecycle.ts'
import { readConfig } from '../../core/config.ts'
import type { Log } from '../../core/ports.ts'
import { type Client, type ClientOptions, connectClient } from '../world/client.ts'
import { profileEnv } from '../world/profile.ts'
import { storeClock } from '../world/store-clock.ts'

export const ADMIN_TOKEN = 'admin-of-the-tests'
export const OBSERVER_PASSWORD = 'observer-of-the-tests'

export interface MadeDevice {
  readonly device: string
  readonly user: string
  readonly token: string
  readonly number: number
  readonly registrationId: number
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

export interface TestNode {
  readonly node: Node
  readonly folder: string
  readonly url: string
  readonly logged: { level: string; facts: object; text: string }[]
  /** Added to the real time. */
  readonly clock: { offsetMs: number }
  /** Asks with the admin token; a body makes it a POST. */
  ask(path: string, body?: object, headers?: Record<string, string>): Promise<Answer>
  /** Provisions and expects 201. */
  make(body: object): Promise<MadeDevice[]>
  connect(device: MadeDevice, options?: Partial<ClientOptions>): Promise<Client>
  stop(): Promise<void>
}

/** Starts it; `env` are settings beside the defaults. */
export async function startTestNode(env: Record<string, string> = {}): Promise<TestNode> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
  const logged: TestNode['logged'] = []
  const write = (level: string) => (facts: object, text: string) => void logged.push({ level, facts, text })
  const log: Log = { info: write('info'), warn: write('warn'), error: write('error') }
  const profile = await profileEnv(env['DATA_DIR'] ?? folder)
  const config = readConfig({
    ...profile,
    DATA_DIR: folder,
    MQTT_PORT: '0',
    HTTP_PORT: '0',
    MQTTS_PORT: '0',
    MQTTS_HOST: '127.0.0.1',
    ADMIN_TOKEN,
    OBSERVER_PASSWORD,
    // Each node writes it at its start, and there are many.
    DISK_RESERVE_MIB: '1',
    ...env,
  })
  const fatal = (error: Error) => assert.fail(`the node ended: ${error.message}`)
  const { clock, stop: stopClock } = await storeClock(profile)
  const node = await startNode(config, log, fatal, () => Date.now() + clock.offsetMs)
  const url = `http://127.0.0.1:${node.httpPort}`
  const clients: Client[] = []

  const ask: TestNode['ask'] = async (path, body, headers = {}) => {
    const response = await fetch(url + path, {
      headers: {
        authorization: `Bearer ${ADMIN_TOKEN}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') === true
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : { text } }
  }

  return {
    node,
    folder,
    url,
    logged,
    clock,
    ask,
    async make(body) {
      const { status, body: answer } = await ask('/v1/admin/devices', body)
      assert.equal(status, 201, JSON.stringify(answer))
      return answer['devices'] as MadeDevice[]
    },
    async connect(device, options = {}) {
      const client = await connectClient({
        port: node.server.mqttPort,
        clientId: device.device,
        username: device.device,
        password: device.token,
        clean: false,
        keepalive: 60,
        ...options,
      })
      clients.push(client)
      return client
    },
    async stop() {
      for (const client of clients) client.destroy()
      await node.drain()
      stopClock()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A problem of the catalogue, as RFC 9457 writes it; gives its detail. */
export function assertProblem(answer: Answer, status: number, code: string | undefined): string {
  assert.equal(answer.status, status, JSON.stringify(answer.body))
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/)
  const { type, title, detail, status: told, code: named } = answer.body
  assert.equal(told, status)
  assert.equal(named, code)
  assert.equal(type, code === undefined ? 'about:blank' : `urn:heliograph:error:${code}`)
  assert.ok(typeof title === 'string' && title !== '')
  assert.ok(typeof detail === 'string' && detail !== '')
  return detail
}
