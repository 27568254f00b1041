/** The SDK's bench: its bars, and how it reads what passes on a WebSocket. */
import assert from 'node:assert/strict'
import type { Result } from '../../bench/results.ts'
import { judgeSdk, SDK } from '../../bench/sdk-bars.ts'
import { frameReader } from '../../bench/sdk-wire.ts'

function result(scenario: string, median: Record<string, number>): Result {
  return { server: SDK, scenario, title: '', figure: '', unit: '', median, runs: [median], failed: [] }
}

describe('the bars of the SDK', () => {
  it('are met from the bar on, and the aim apart from it', () => {
    const bars = judgeSdk([
      result('sdk-send', { msgPerS: 2_500 }),
      result('sdk-bytes', { upBytes: 331, downBytes: 306 }),
    ])
    const verdicts = bars.map(({ figure, met, aimMet }) => [figure, met, aimMet])
    assert.deepEqual(verdicts, [
      [2_500, true, false],
      [null, null, null],
      [331, false, false],
      [306, true, true],
      [null, null, null],
    ])
  })
})

describe('the reader of WebSocket frames', () => {
  const text = Buffer.from('a packet of MQTT')
  const long = Buffer.alloc(300, 7)
  const mask = Buffer.from([1, 2, 3, 4])
  const masked = Buffer.from(text.map((byte, i) => byte ^ (mask[i & 3] ?? 0)))
  const bytes = Buffer.concat([
    Buffer.from('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
    Buffer.from([0x82, text.length]),
    text,
    Buffer.from([0x82, 0x80 | text.length]),
    mask,
    masked,
    Buffer.from([0x82, 126, 1, 44]),
    long,
  ])

  it('gives each payload once, masked or not, however the bytes are cut', () => {
    for (const size of [1, 3, bytes.length]) {
      const read: string[] = []
      const take = frameReader((payload) => void read.push(payload.toString()))
      for (let at = 0; at < bytes.length; at += size) take(bytes.subarray(at, at + size))
      assert.deepEqual(read, [text.toString(), text.toString(), long.toString()])
    }
  })
})
