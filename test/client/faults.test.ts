import assert from 'node:assert/strict'
import { ClientFault, clientCodeOf, clientErrors } from '../../client/faults.ts'
import { type ErrorCode, errorOf, errors, RETRY_LATER } from '../../topics/errors.ts'

describe('the faults of the SDK', () => {
  it('say what they mean and what to do, in sentences of their own', () => {
    const sentences = Object.values(clientErrors).map(({ about }) => about)
    for (const sentence of sentences) assert.match(sentence, /^[A-Z].{20,110}\.$/)
    assert.equal(new Set(sentences).size, sentences.length)
  })

  it('are errors with a code, and with the sentence of the catalogue unless there is a better one', () => {
    const fault = new ClientFault('locked')
    assert.ok(fault instanceof Error)
    assert.deepEqual([fault.name, fault.code, fault.message], ['ClientFault', 'locked', clientErrors.locked.about])
    assert.equal(new ClientFault('locked', 'Process 7 has it.').message, 'Process 7 has it.')
  })

  it('can be tried again exactly when the server said so', () => {
    for (const code of Object.keys(errors) as ErrorCode[]) {
      const isLater = errorOf(code).retry === RETRY_LATER
      assert.equal(clientErrors[clientCodeOf(code)].retry, isLater ? 'later' : 'never', code)
    }
  })

  it("do not take the server's disk for the client's", () => {
    assert.equal(clientCodeOf('disk_full'), 'server_busy')
    assert.equal(clientCodeOf('corrupt_store'), 'server_busy')
  })
})
