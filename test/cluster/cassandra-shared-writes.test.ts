/** Small writes that travel together: how they are packed, and who fails when one is wrong. */
import assert from 'node:assert/strict'
import type { Session, Statement } from '../../adapters/cassandra/session.ts'
import { createSharedWrites, packed } from '../../adapters/cassandra/shared-writes.ts'
import { StoreDownFault } from '../../core/ports.ts'

const statement = (name: string): Statement => ({ query: name, params: [] })
const part = (name: string, bytes = 10) => ({ statements: [statement(name)], bytes })

/** Notes what is sent; `fault` says what becomes of it. */
function sessionWith(isEverywhere: boolean, fault: (names: string[]) => Error | undefined = () => undefined) {
  const sent: string[][] = []
  const send = async (statements: readonly Statement[]): Promise<never[]> => {
    const names = statements.map(({ query }) => query)
    sent.push(names)
    const error = fault(names)
    if (error !== undefined) throw error
    return []
  }
  const session = { run: (one: Statement) => send([one]), batch: send, isEverywhere: () => isEverywhere }
  return { sent, write: createSharedWrites(session as unknown as Session) }
}

describe('small writes of one turn', () => {
  it('travel together, ten parts or 4 KiB in a request, in their order', () => {
    const names = (count: number, bytes: number) =>
      packed(Array.from({ length: count }, (_, i) => part(`${i}`, bytes))).map((request) =>
        request.map(({ statements }) => statements[0]?.query),
      )
    assert.deepEqual(names(11, 10), [['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'], ['10']])
    assert.deepEqual(
      names(6, 900).map((request) => request.length),
      [4, 2],
    )
    assert.deepEqual(names(0, 10), [])
  })

  it('are one request where every node has every row; a large part is its own', async () => {
    const { sent, write } = sessionWith(true)
    await Promise.all([write(part('a')), write(part('large', 2_000)), write(part('b')), write(part('c'))])
    assert.deepEqual(sent, [['large'], ['a', 'b', 'c']])
    await Promise.all([write(part('d'))])
    assert.deepEqual(sent.at(-1), ['d'])
  })

  it('travel alone where nodes have some rows each', async () => {
    const { sent, write } = sessionWith(false)
    await Promise.all([write(part('a')), write(part('b'))])
    assert.deepEqual(sent, [['a'], ['b']])
  })

  it('fail alone when one of them is wrong, and all when the store is away', async () => {
    const wrong = sessionWith(true, (names) => (names.includes('b') ? new Error('wrong') : undefined))
    const settled = await Promise.allSettled(['a', 'b', 'c'].map((name) => wrong.write(part(name))))
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    const away = sessionWith(true, () => new StoreDownFault('cassandra', 'away'))
    const all = await Promise.allSettled(['a', 'b'].map((name) => away.write(part(name))))
    assert.ok(all.every(({ status }) => status === 'rejected'))
    assert.equal(away.sent.length, 1)
  })
})
