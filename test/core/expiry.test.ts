import assert from 'node:assert/strict'
import { isExpired } from '../../core/expiry.ts'
import { seqFromMs } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'

const SENT_MS = Date.UTC(2026, 0, 1)
const row = (expiresMs: number) => ({ seq: seqFromMs(SENT_MS) + 3, expiresMs })

describe('a row', () => {
  it('is too late behind the time that its sender asked for, and not at it', () => {
    assert.equal(isExpired(row(SENT_MS + 5_000), SENT_MS + 5_000), false)
    assert.equal(isExpired(row(SENT_MS + 5_000), SENT_MS + 5_001), true)
  })

  it('is too late behind 30 days, whether its sender asked for a time or not', () => {
    const end = SENT_MS + limits.inboxTtlMs
    for (const expiresMs of [0, end + 1_000_000]) {
      assert.equal(isExpired(row(expiresMs), end), false)
      assert.equal(isExpired(row(expiresMs), end + 1), true)
    }
  })

  it('is not too late because its clock was ahead of ours', () => {
    assert.equal(isExpired(row(0), SENT_MS - 3_600_000), false)
  })
})
