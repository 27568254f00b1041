import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type Account, plainFleet } from '../../bench/generator/fleet.ts'
import { personFleet } from '../../bench/generator/person-fleet.ts'
import { type KillReport, killLane } from '../../bench/kill.ts'
import type { ServerKind } from '../../bench/servers/server.ts'
import { decodeSendRequest, encodeDelivery } from '../../topics/codec.ts'
import { type Message, type Responder, type Session, startResponder } from './responder.ts'

const PAIRS = 5
const ABSENT = 2

const accounts: Account[] = Array.from({ length: 2 * (PAIRS + ABSENT) }, (_, i) => ({
  device: `p${i}`,
  user: randomUUID(),
  token: 'token',
  number: 1,
  registrationId: 1 + i,
}))

/** How the in-test server treats what it has acknowledged. */
type Character = { forgets?: boolean; renumbers?: boolean }

/** A server whose sessions survive a kill, unless its character says otherwise. */
function server(character: Character): ServerKind {
  const sessions = new Map<string, Session>()
  const seqs = new Map<string, number>()
  let lastSeq = 0
  const route = (message: Message, from: string): Message[] => {
    if (!message.topic.endsWith('/out')) return [message]
    const { payload } = message
    const request = decodeSendRequest(payload, 0, payload.length)
    if (request.fault) assert.fail(request.text)
    const [body] = request.pair?.devices ?? []
    const name = `${from}:${request.stamp}`
    const known = seqs.get(name)
    if (known !== undefined && character.renumbers !== true) return []
    const seq = ++lastSeq
    seqs.set(name, seq)
    const to = accounts[(body?.registrationId ?? 0) - 1]?.device
    const whisper = payload.subarray(body?.start, body?.end)
    const receipts = { items: [{ peer: request.pair?.peer, accepted: [request.stamp, seq] }] }
    return [
      { topic: `d/${to}/in`, payload: Buffer.from(encodeDelivery({ whisper, seq })) },
      { topic: `d/${from}/in`, payload: Buffer.from(encodeDelivery({ receipts })) },
    ]
  }
  return {
    name: 'in-test',
    missing: () => undefined,
    version: () => 'in-test',
    paths: ['raw', 'send-request'],
    async start() {
      // PUBACK well after the message is kept: then the kill finds stored messages without PUBACK.
      const responder: Responder = await startResponder({ sessions, route, pubackAfterMs: 2 })
      let accountsUsed = 0
      let series = 0
      return {
        mqttPort: responder.port,
        httpPort: 0,
        pids: [],
        startS: 0,
        fleet: async (path, shape) => {
          if (path === 'raw') return plainFleet(shape, series++)
          const from = accountsUsed
          accountsUsed += shape.pairs + shape.recipients
          return personFleet(shape, accounts.slice(from))
        },
        stop: () => responder.kill(),
        kill: async () => {
          await responder.kill()
          if (character.forgets === true) sessions.clear()
        },
      }
    },
  }
}

function run(character: Character, rounds: number, lines: string[] = []): Promise<KillReport> {
  return killLane(server(character), {
    rounds,
    pairs: PAIRS,
    absentPairs: ABSENT,
    loadMsMin: 20,
    loadMsMax: 60,
    quietMs: 300,
    note: (line) => lines.push(line),
  })
}

describe('the kill -9 lane', () => {
  it('finds nothing wrong with a server that keeps what it acknowledged', async () => {
    const lines: string[] = []
    const report = await run({}, 4, lines)
    assert.ok(report.acked > 1000, `${report.acked} acknowledged`)
    const { lost, unacked, misordered, seqTwice, seqBackwards } = report
    assert.deepEqual(
      { lost, unacked, misordered, seqTwice, seqBackwards },
      {
        lost: 0,
        unacked: 0,
        misordered: 0,
        seqTwice: 0,
        seqBackwards: 0,
      },
    )
    assert.equal(lines.length, 4)
    assert.match(lines[3] ?? '', /round 4\/4/)
  })

  it('counts what a server acknowledged and forgot', async () => {
    const report = await run({ forgets: true }, 2)
    assert.ok(report.lost > 0)
  })

  it('sees a stamp that a resend brought under a second seq', async () => {
    const report = await run({ renumbers: true }, 4)
    assert.ok(report.seqTwice > 0)
    assert.equal(report.lost, 0)
  })
})
