import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Content, decodeContent, encodeContent, type WireFault } from '../../topics/codec.ts'
import { bytes, mutation } from './arbitraries.ts'
import { content } from './content-arbitraries.ts'
import { messageType, oracleBytes, oracleView, viewOf } from './oracle.ts'

const RUNS = { numRuns: 600 }
const MANY_RUNS = { numRuns: 4_000 }
const id = Uint8Array.from({ length: 16 }, (_, i) => i)

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

function taken(payload: Uint8Array): Content {
  const decoded = decodeContent(payload)
  assert.ok(!decoded.fault, decoded.fault ? decoded.text : '')
  return decoded
}

function refused(payload: Uint8Array): WireFault {
  const decoded = decodeContent(payload)
  assert.ok(decoded.fault, `taken: ${Buffer.from(payload).toString('hex')}`)
  return decoded
}

describe('the content codec and protobufjs', () => {
  it('write the same bytes for any Content, and read them alike', () => {
    const kinds = new Set<string | undefined>()
    const property = fc.property(content, (message) => {
      const payload = encodeContent(message)
      assert.deepEqual(Buffer.from(payload), Buffer.from(oracleBytes('Content', message)))
      const decoded = taken(payload)
      kinds.add(decoded.kind)
      assert.deepEqual(viewOf(decoded), oracleView('Content', payload))
      // Reading loses nothing that the view hides, a text "0" for one.
      assert.deepEqual(Buffer.from(encodeContent(decoded)), Buffer.from(payload))
    })
    fc.assert(property, RUNS)
    const members = messageType('Content').oneofs['kind']?.oneof ?? []
    assert.deepEqual([...kinds].filter((kind) => kind !== undefined).sort(), [...members].sort())
    assert.ok(kinds.has(undefined))
  })
})

describe('the content codec', () => {
  it('never throws, after any small damage and for bytes that never were a Content', () => {
    const damage = fc.property(content, fc.array(mutation, { minLength: 1, maxLength: 4 }), (message, mutations) => {
      const damaged = mutations.reduce((from, mutate) => mutate(from), encodeContent(message))
      assert.equal(typeof decodeContent(damaged).fault, 'boolean')
    })
    fc.assert(damage, MANY_RUNS)
    const noise = fc.property(bytes(0, 64), (given) => {
      assert.equal(typeof decodeContent(given).fault, 'boolean')
    })
    fc.assert(noise, MANY_RUNS)
  })

  it('refuses what is cut off anywhere but between two fields', () => {
    const whole = encodeContent({ id, post: { text: 'hello', location: { latitude: 1.5 } } })
    const afterId = encodeContent({ id }).length
    for (let end = 1; end < whole.length; end += 1) {
      assert.equal(decodeContent(whole.subarray(0, end)).fault, end !== afterId, `cut after ${end} bytes`)
    }
  })

  it('steps over fields and kinds of a newer version, at the top and inside, and keeps the rest', () => {
    const unknown = hex('f80701 fa0702aabb fd0701020304 f9070102030405060708')
    const post = encodeContent({ post: { text: 'hello' } })
    const inside = Buffer.concat([post.subarray(2), unknown])
    const newer = Buffer.concat([unknown, encodeContent({ id, needs: 2 }), hex('62'), Buffer.of(inside.length), inside])
    assert.deepEqual(viewOf(taken(newer)), {
      id: `0x${Buffer.from(id).toString('hex')}`,
      needs: '2',
      kind: 'post',
      post: { text: 'hello' },
    })
    const newKind = Buffer.concat([encodeContent({ id }), hex('fa01 03 010203')])
    assert.equal(taken(newKind).kind, undefined)
  })

  it('keeps the last of two kinds', () => {
    const decoded = taken(Buffer.concat([encodeContent({ post: { text: 'a' } }), encodeContent({ delete: { id } })]))
    assert.deepEqual([decoded.kind, decoded.post], ['delete', undefined])
    assert.ok(Buffer.from(id).equals(decoded.delete?.id ?? id.subarray(1)))
  })

  it('tells a kind that says nothing from no kind', () => {
    assert.equal(Buffer.from(encodeContent({ timer: {} })).toString('hex'), 'aa0100')
    assert.equal(taken(encodeContent({ timer: {} })).kind, 'timer')
    assert.equal(taken(encodeContent({ heal: {} })).kind, 'heal')
    assert.equal(taken(new Uint8Array(0)).kind, undefined)
  })

  it('writes minus zero, which is another place than none at all, and takes what is no number', () => {
    for (const longitude of [-0, Number.NaN, Number.POSITIVE_INFINITY, 5e-324]) {
      const { post } = taken(encodeContent({ post: { location: { longitude } } }))
      assert.ok(Object.is(post?.location?.longitude, longitude), String(longitude))
    }
    assert.equal(encodeContent({ post: { location: { longitude: 0 } } }).length, 4)
  })

  it('refuses text that is not UTF-8, wherever it stands', () => {
    const postOf = (text: string): Buffer => {
      const bad = hex(text)
      return Buffer.concat([Buffer.of(0x62, bad.length + 2, 0x0a, bad.length), bad])
    }
    // A byte that never occurs, a cut character, an overlong NUL, half a surrogate pair, above U+10FFFF.
    for (const bad of ['ff', 'e282', 'c080', 'eda080', 'f4908080']) {
      assert.deepEqual(refused(postOf(bad)), { fault: true, code: 'malformed', stamp: 0, text: 'text is not UTF-8' })
    }
    assert.equal(taken(postOf('f09f9180')).post?.text, '👀')
    assert.match(refused(hex('62 05 32 03 12 01 ff')).text, /^phones is not UTF-8$/)
  })

  it('keeps a byte order mark, which a reader of text would drop', () => {
    const { post } = taken(encodeContent({ post: { text: '\ufeffx' } }))
    assert.equal(post?.text, '\ufeffx')
  })

  it('will not write half a surrogate pair, nor a number that the wire cannot say', () => {
    assert.throws(() => encodeContent({ post: { text: 'a\ud83d' } }), /RangeError: text has half a surrogate pair/)
    assert.throws(() => encodeContent({ post: { contacts: [{ phones: ['\udc00'] }] } }), RangeError)
    for (const wrong of [-1, 0.5, Number.NaN, 2 ** 53]) {
      assert.throws(() => encodeContent({ timerS: wrong }), RangeError)
      assert.throws(() => encodeContent({ devicesChanged: { added: [wrong] } }), RangeError)
    }
  })

  it('reads numbers of a list packed and one by one, and refuses one that is not below 2^32', () => {
    const packed = hex('c201 04 0a 02 02 03')
    const single = hex('c201 04 08 02 08 03')
    for (const payload of [packed, single]) assert.deepEqual(taken(payload).devicesChanged?.added, [2, 3])
    assert.match(refused(hex('c201 07 0a 05 8080808010')).text, /not below 2\^32/)
  })

  it('gives every Content all its keys in one order, and lists that are nobody else’s', () => {
    const keys = new Set<string>()
    const property = fc.property(content, (message) => {
      keys.add(Object.keys(taken(encodeContent(message))).join())
    })
    fc.assert(property, RUNS)
    assert.equal(keys.size, 1)
    taken(encodeContent({ devicesChanged: { added: [1, 2] } }))
    assert.deepEqual(taken(encodeContent({ devicesChanged: {} })).devicesChanged, { added: [], removed: [] })
  })

  it('takes a Content as large as it may be, and lists as long as its bytes', () => {
    const added = Array.from({ length: 20_000 }, (_, i) => i + 1)
    const payload = encodeContent({ id, devicesChanged: { added } })
    assert.deepEqual(taken(payload).devicesChanged?.added, added)
  })
})
