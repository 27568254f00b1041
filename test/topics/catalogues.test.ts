import assert from 'node:assert/strict'
import { disconnects, isDisconnectReason } from '../../topics/disconnects.ts'
import {
  type ErrorRow,
  errorCodeOf,
  errorOf,
  errors,
  isErrorCode,
  RETRY_LATER,
  RETRY_NEVER,
  RETRY_REPAIR,
  retiredNumbers,
} from '../../topics/errors.ts'
import { assertRelations, limits, limitTable } from '../../topics/limits.ts'

const rows = Object.entries<ErrorRow>(errors)

describe('the error catalogue', () => {
  it('gives every error its own number, none of them retired', () => {
    const numbers = rows.map(([, row]) => row.number)
    assert.equal(new Set([...numbers, ...retiredNumbers]).size, numbers.length + retiredNumbers.length)
    assert.ok(numbers.every((number) => Number.isInteger(number) && number > 0))
  })

  it('keeps the numbers that clients know', () => {
    const known = { malformed: 1, unknown_field: 2, too_large: 3, devices_stale: 22, stamp_behind: 40, overloaded: 60 }
    for (const [code, number] of Object.entries(known)) assert.equal(errors[code as keyof typeof known].number, number)
  })

  it('finds an error by name and by number, and nothing else', () => {
    for (const [code, row] of rows) {
      assert.ok(isErrorCode(code))
      assert.equal(errorOf(code), row)
      assert.equal(errorCodeOf(row.number), code)
    }
    assert.equal(errorCodeOf(0), undefined)
    for (const name of ['', 'Malformed', 'constructor', '__proto__', 'toString']) assert.ok(!isErrorCode(name), name)
  })

  it('says what to do, whether to retry, and what HTTP says', () => {
    for (const [code, row] of rows) {
      assert.match(code, /^[a-z]+(_[a-z]+)*$/)
      assert.match(row.about, /^[A-Z].+\.$/)
      assert.ok(row.http >= 400 && row.http < 600, code)
      if (row.retry === RETRY_LATER) assert.ok([409, 429, 503, 507].includes(row.http), `${code} passes by itself`)
      if (row.retry === RETRY_NEVER) assert.notEqual(row.http, 503, `${code} does not pass by itself`)
    }
    const repaired = rows.filter(([, row]) => row.retry === RETRY_REPAIR).map(([code]) => code)
    assert.deepEqual(repaired, ['devices_stale', 'stamp_behind'])
  })
})

describe('the catalogue of disconnects', () => {
  it('names every reason as a metric label and says what happened', () => {
    for (const [reason, row] of Object.entries(disconnects)) {
      assert.match(reason, /^[a-z0-9]+(_[a-z0-9]+)*$/)
      assert.match(row.about, /^[A-Z].+\.$/)
      assert.ok(isDisconnectReason(reason))
    }
    for (const name of ['', 'hasOwnProperty', 'Takeover']) assert.ok(!isDisconnectReason(name), name)
  })

  it('tells a client to come back after what the server could not do, and not after what it did itself', () => {
    for (const reason of ['overloaded', 'append_failed', 'shutting_down'] as const) {
      assert.notEqual(disconnects[reason].reconnect, 'never')
    }
    for (const reason of ['revoked', 'takeover', 'bad_credentials', 'qos2', 'foreign_topic'] as const) {
      assert.equal(disconnects[reason].reconnect, 'never')
    }
  })
})

describe('the limits', () => {
  it('have a positive whole number, a unit in the name and a sentence', () => {
    const units = /Bytes|Chars|Levels|Ms|S(Max|$)|Rows|Records|onnections|onnects|evices|eceipts|[Ss]eqs/
    const counts = /Users|Slots|filters|andshakes|penings|ackets|ubacks|Publishes|Envelopes|batches|provision/
    const persons = /odes|Digits|Tries|inks|Answers|ookups|rekeys|undles|Uploads/
    for (const [name, row] of Object.entries(limitTable)) {
      assert.equal(limits[name as keyof typeof limits], row.value)
      assert.ok(
        [units, counts, persons].some((each) => each.test(name)),
        `${name} says what it counts`,
      )
      assert.match(row.about, /^[A-Z].+\.$/)
    }
  })

  it('cannot be changed', () => {
    assert.throws(() => Object.assign(limits, { frameBytesMax: 1 }), TypeError)
  })

  it('hold their relations, and a contradiction is found when it is planted', () => {
    assertRelations(limits)
    const planted: [Partial<typeof limits>, RegExp][] = [
      [{ envelopeBytesMax: limits.frameBytesMax }, /largest envelope fits/],
      [{ contentBytesMax: limits.envelopeBytesMax - 4_095 }, /largest content reaches one device/],
      [{ frameBeforeConnectBytesMax: limits.frameBytesMax }, /who is not known/],
      [{ windowRowsMax: 1_041 }, /packet ids have 16 bits/],
      [{ heldBytesPerConnectionMax: limits.frameBytesMax - 1 }, /one whole frame can be held/],
      [{ diskReserveBytes: limits.diskFreeBytesMin }, /reserve is smaller/],
      [{ inboxTtlMs: limits.inboxTtlMs - 1_000 }, /end together/],
      [{ windowRows: limits.windowRowsMax + 1 }, /default window is allowed/],
      [{ watchUsersMax: 256 }, /longest watch fits/],
      [{ ackTimeoutMs: 0.5 }, /ackTimeoutMs is not a positive integer/],
      [{ connectTimeoutMs: -1 }, /connectTimeoutMs is not a positive integer/],
    ]
    for (const [change, message] of planted) assert.throws(() => assertRelations({ ...limits, ...change }), message)
  })

  it('are those that the promises and the wire format state', () => {
    const stated = {
      frameBeforeConnectBytesMax: 4_096,
      frameBytesMax: 132 * 1_024,
      envelopeBytesMax: 128 * 1_024,
      contentBytesMax: 96 * 1_024,
      deviceIdCharsMax: 12,
      windowRowsMax: 1_024,
      waitingRecordsMax: 1_024,
      receiptLingerMs: 500,
      receiptLingerRecordsMax: 16,
      inboxRowsMax: 200_000,
      inboxTtlMs: 30 * 24 * 3_600 * 1_000,
      tailRowsMax: 200_000,
      ackTimeoutMs: 60_000,
      afterSeqAheadMsMax: 60_000,
      diskFreeBytesMin: 256 * 1_024 * 1_024,
      diskReserveBytes: 64 * 1_024 * 1_024,
      heldBytesPerConnectionMax: 256 * 1_024,
      devicesPerUserMax: 127,
      syncRowsMax: 50,
    }
    for (const [name, value] of Object.entries(stated)) assert.equal(limits[name as keyof typeof stated], value, name)
  })
})
