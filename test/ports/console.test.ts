/** Text messages on the console: the conformance suite, and what holds of this adapter alone. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConsoleSms, SMS_FILE } from '../../adapters/console/sms.ts'
import type { Log } from '../../core/ports.ts'
import { type SmsOpening, smsSuite } from './sms.ts'

interface Line {
  readonly phone: string
  readonly text: string
  readonly code: string
}

const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }

function linesIn(folder: string): Line[] {
  const lines = readFileSync(join(folder, SMS_FILE), 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line) as Line)
}

/** The provider is a folder; where a file stands in its place, nothing can be written. */
async function openConsole(): Promise<SmsOpening> {
  const parent = mkdtempSync(join(tmpdir(), 'heliograph-'))
  const folder = join(parent, 'sms')
  return {
    sms: createConsoleSms(folder, Date.now, quiet),
    arrived: async () => linesIn(folder),
    async breakProvider() {
      rmSync(folder, { recursive: true })
      writeFileSync(folder, '')
    },
    mendProvider: async () => rmSync(folder),
    close: async () => rmSync(parent, { recursive: true, force: true }),
  }
}

describe('the console adapter', () => {
  smsSuite(openConsole)

  describe('of text messages', () => {
    let folder: string
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
    })
    afterEach(() => rmSync(folder, { recursive: true }))

    it('shows the code that it was given, whatever other digits the text has', async () => {
      const sms = createConsoleSms(folder, Date.now, quiet)
      await sms.send('+15550001111', { text: 'Valid until 2030: 012345.', code: '012345' })
      assert.equal(linesIn(folder)[0]?.code, '012345')
    })

    it('keeps the last 64, also those of the run before', async () => {
      for (const first of [0, 40]) {
        const sms = createConsoleSms(folder, Date.now, quiet)
        for (let i = first; i < first + 40; i++) {
          const code = String(100_000 + i)
          await sms.send('+15550001111', { text: code, code })
        }
      }
      assert.deepEqual(
        linesIn(folder).map(({ code }) => code),
        Array.from({ length: 64 }, (_, i) => String(100_016 + i)),
      )
    })
  })
})
