import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Overrides, openPorts } from '../../adapters/open.ts'
import type { Opened } from '../../adapters/opened.ts'
import { readConfig } from '../../core/config.ts'
import type { Log } from '../../core/ports.ts'
import { accountsSuite } from './accounts.ts'
import { backlogSuite } from './backlog.ts'
import { claimsSuite } from './claims.ts'
import { codesSuite } from './codes.ts'
import { directorySuite } from './directory.ts'
import { inboxSuite } from './inbox.ts'
import { intakeSuite } from './intake.ts'
import { keysSuite } from './keys.ts'
import { limiterSuite } from './limiter.ts'
import { linksSuite } from './links.ts'
import type { Bounds, Opening } from './opener.ts'

const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const HOUR_MS = 3_600_000
const AGE_MS_MAX = 5_000

/**
 * SQLite and memory in a temporary folder. A crash opens a copy of the files as they are while the store still has
 * them.
 */
async function openEmbedded(bounds: Bounds = {}): Promise<Opening> {
  const clock = { offsetMs: 0 }
  // The mover looks often, and finds nothing old enough but what `age` and a recovery make old.
  const limits = { ...bounds, settleAfterMs: HOUR_MS / 2, moveEveryMs: 5, diskReserveBytes: 1 << 20 }
  const overrides: Overrides = { limits }
  let folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
  const folders = [folder]
  const now = () => Date.now() + clock.offsetMs
  const fatal = (error: Error) => {
    throw error
  }
  const open = (): Promise<Opened> => openPorts(readConfig({ DATA_DIR: folder }), now, quiet, fatal, overrides)
  let opened = await open()

  return {
    get ports() {
      return opened.ports
    },
    get pendingMarks() {
      return opened.pendingMarks
    },
    clock,
    isInOrder: true,
    facts: () => opened.storeFacts(),
    async commit() {
      // Commits are in order.
      await opened.ports.inbox.setSubscribed('commit', true)
      await opened.ports.inbox.setSubscribed('commit', false)
    },
    async age() {
      const before = clock.offsetMs
      clock.offsetMs = before + HOUR_MS
      const deadline = performance.now() + AGE_MS_MAX
      while (Number(opened.storeFacts()['tailEntries']) > 0) {
        if (performance.now() > deadline) throw new Error('the tail does not go away')
        await new Promise((resolve) => setImmediate(resolve))
      }
      clock.offsetMs = before
    },
    async reopen() {
      await opened.close()
      opened = await open()
    },
    async crash() {
      const copy = mkdtempSync(join(tmpdir(), 'heliograph-'))
      folders.push(copy)
      cpSync(folder, copy, { recursive: true })
      const before = opened
      folder = copy
      opened = await open()
      await before.close()
    },
    async close() {
      await opened.close()
      for (const each of folders) rmSync(each, { recursive: true, force: true })
    },
  }
}

describe('the embedded adapters', () => {
  intakeSuite(openEmbedded, true)
  inboxSuite(openEmbedded, true)
  directorySuite(openEmbedded)
  claimsSuite(openEmbedded)
  backlogSuite(openEmbedded, true)
  accountsSuite(openEmbedded)
  codesSuite(openEmbedded)
  linksSuite(openEmbedded)
  limiterSuite(openEmbedded)
  keysSuite(openEmbedded)
})
