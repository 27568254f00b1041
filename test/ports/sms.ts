/** Conformance: what every adapter of the text message port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import type { Sms } from '../../core/ports.ts'

/** An adapter, and a provider that the suite can look into. */
export interface SmsOpening {
  readonly sms: Sms
  /** What the provider has, in the order in which it got it. */
  arrived(): Promise<readonly { readonly phone: string; readonly text: string }[]>
  /** From now on the provider takes nothing. */
  breakProvider(): Promise<void>
  mendProvider(): Promise<void>
  close(): Promise<void>
}

const ANN = '+15550001111'
const BOB = '+447700900123'
const messageOf = (code: string): { text: string; code: string } => ({ text: `${code} is your code.`, code })

/** Sms of core/ports.ts: every sentence of its comments. */
export function smsSuite(open: () => Promise<SmsOpening>): void {
  describe('Sms', () => {
    let opening: SmsOpening
    const send = (phone: string, code: string, signal?: AbortSignal): Promise<void> =>
      opening.sms.send(phone, messageOf(code), signal)
    const arrived = async (): Promise<[phone: string, text: string][]> =>
      (await opening.arrived()).map(({ phone, text }) => [phone, text])
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    it('resolves when the provider has the message, whole and for that number', async () => {
      await send(ANN, '012345')
      assert.deepEqual(await arrived(), [[ANN, '012345 is your code.']])
      await send(BOB, '999999', new AbortController().signal)
      assert.deepEqual(await arrived(), [
        [ANN, '012345 is your code.'],
        [BOB, '999999 is your code.'],
      ])
    })

    it('takes many at once, and loses and doubles none', async () => {
      const codes = Array.from({ length: 20 }, (_, i) => String(100_000 + i))
      await Promise.all(codes.map((code) => send(ANN, code)))
      const texts = (await arrived()).map(([, text]) => text)
      assert.deepEqual(
        texts.sort(),
        codes.map((code) => `${code} is your code.`),
      )
    })

    it('rejects when the provider takes nothing; the next message goes out, and that one never', async () => {
      await send(ANN, '111111')
      await opening.breakProvider()
      await assert.rejects(send(ANN, '222222'))
      await assert.rejects(send(BOB, '333333'))
      await opening.mendProvider()
      await send(ANN, '444444')
      const texts = (await arrived()).map(([, text]) => text)
      assert.equal(texts.at(-1), '444444 is your code.')
      for (const code of ['222222', '333333']) assert.ok(!texts.join().includes(code), code)
    })

    it('rejects when it was aborted before, sends nothing then, and goes on', async () => {
      await assert.rejects(send(ANN, '111111', AbortSignal.abort()))
      await send(ANN, '222222')
      assert.deepEqual(await arrived(), [[ANN, '222222 is your code.']])
    })

    it('says nothing more when it is aborted after it resolved', async () => {
      const late = new AbortController()
      await send(ANN, '111111', late.signal)
      late.abort()
      await send(ANN, '222222')
      assert.equal((await arrived()).length, 2)
    })
  })
}
