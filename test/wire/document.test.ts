import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { pad } from '../../topics/codec.ts'
import { pairConversation, parseUuid } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import { allGoldens, annotated, blockOf, markerOf, wireDocument, withVectors } from './annotate.ts'
import { readGoldenSignal } from './golden-signal.ts'

const document = readFileSync(wireDocument, 'utf8')

describe('docs/wire.md', () => {
  it('has every golden vector once, as it is, and no other: run node test/wire/annotate.ts', () => {
    assert.equal(withVectors(document), document)
    const markers = document.match(/^<!-- vector .* -->$/gm) ?? []
    assert.deepEqual([...markers].sort(), allGoldens().map(markerOf).sort())
    for (const golden of allGoldens()) {
      const [, behind = ''] = document.split(`${markerOf(golden)}\n`)
      assert.ok(behind.startsWith(`${blockOf(golden)}\n`), golden.name)
    }
  })

  it('has lines of hex that are the bytes when they are put together', () => {
    for (const golden of allGoldens()) {
      const hex = annotated(golden).map((line) => line.split('#')[0]?.replaceAll(' ', ''))
      assert.equal(hex.join(''), golden.hex, golden.name)
    }
  })

  it('finds a vector that is old, and one that is missing', () => {
    assert.equal(withVectors(document.replace('# stamp = 1764000000123', '# stamp = 1')), document)
    const marker = markerOf(allGoldens()[3] as ReturnType<typeof allGoldens>[number])
    assert.ok(withVectors(document.replace(marker, '')).trimEnd().endsWith('```'))
    assert.notEqual(withVectors(document.replace(marker, '')), document)
  })

  it('has the safety number of the golden keys and the version that made them', () => {
    const { safetyNumber, libsignal } = readGoldenSignal()
    assert.ok(document.includes(`\n${safetyNumber}\n`))
    assert.ok(document.includes(`made with libsignal ${libsignal};`))
  })

  it('names two users whose conversation is the one of its golden text', () => {
    const [a, b] = [...document.matchAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g)].map(([user]) => user)
    const users = [parseUuid(a ?? ''), parseUuid(b ?? '')] as const
    const conversation = pairConversation(users[0] as Uint8Array, users[1] as Uint8Array)
    const golden = allGoldens().find(({ name }) => name === 'text')
    assert.ok(golden?.hex.includes(`1210${Buffer.from(conversation).toString('hex')}`))
  })

  it('says the sizes of padding as they are', () => {
    const number = (value: number): string => value.toLocaleString('en-US')
    const sizeOf = (bytes: number): string => number(pad(new Uint8Array(bytes)).length)
    for (const bytes of [78, 158]) assert.match(document, new RegExp(`\\| \\d+ to ${bytes} \\| ${sizeOf(bytes)} \\|`))
    const most = limits.contentBytesMax
    assert.ok(document.includes(`| ${number(most)} | ${sizeOf(most)} |`))
    assert.ok(document.includes(`at most ${number(limits.envelopeBytesMax)} bytes`))
  })
})
