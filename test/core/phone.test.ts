import assert from 'node:assert/strict'
import { secret } from '../../core/config.ts'
import { codeHashOf, parsePhone, phoneHashOf } from '../../core/phone.ts'
import { limits } from '../../topics/limits.ts'

const KEY = secret('key of the tests')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('a phone number', () => {
  it('has one form, however it is written', () => {
    for (const text of ['+4915112345678', ' +49 151 12345678', '+49 (0) 151-1234.5678', '+49/151/12345678']) {
      assert.equal(parsePhone(text), '+4915112345678', text)
    }
    assert.equal(parsePhone('+٤٩١٥١١٢٣٤٥٦٧٨'), '+4915112345678')
  })

  it('may be one of those that are kept for films and tests', () => {
    for (const text of ['+447700900123', '+15550001111', '+61491570156']) assert.equal(parsePhone(text), text)
  })

  it('has its country code with it, and is not only like one', () => {
    for (const text of [
      '015112345678',
      '15550001111',
      '0015550001111',
      '+',
      '',
      '+0',
      '+49',
      'tel',
      '+49abc',
      '++4915112345678',
    ]) {
      assert.equal(parsePhone(text), undefined, text)
    }
    assert.equal(parsePhone(`+4915112345678${' '.repeat(limits.phoneCharsMax)}`), undefined)
  })

  it('costs no more than others', () => {
    const dear = ['+19005551234', '+448451234567', '+447640123456', '+88213123456', '+870773123456', '+979123456789']
    for (const text of dear) assert.equal(parsePhone(text), undefined, text)
  })

  it('is kept as an HMAC that is another one under another key, and never that of a code', () => {
    const one = hex(phoneHashOf(KEY, '+15550001111'))
    assert.equal(one.length, 64)
    assert.equal(one, hex(phoneHashOf(secret('key of the tests'), '+15550001111')))
    const others = [
      phoneHashOf(secret('other key'), '+15550001111'),
      phoneHashOf(KEY, '+15550001112'),
      codeHashOf(KEY, '+15550001111', '123456'),
      codeHashOf(KEY, '+15550001111', '123457'),
    ].map(hex)
    assert.equal(new Set([one, ...others]).size, 5)
  })
})
