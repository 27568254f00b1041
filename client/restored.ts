/**
 * A database that was put back from an older copy: its sessions would use message keys a second time, and its prekeys
 * were spent. The server tells the last stamp of this device at every connection; a stamp that this database never gave
 * is the proof. Sessions go, ids of prekeys begin elsewhere, and what was under way is encrypted anew under stamps
 * above; the recipients know each content by its name, and show it once.
 */
import { writeNumber } from './account.ts'
import type { Core } from './core.ts'
import { skipPrekeyIds } from './crypto/prekeys.ts'
import { clientErrors } from './faults.ts'
import { SENT } from './outbox-rows.ts'

/** In a turn. True: the database was an old copy, and new prekeys have to be uploaded. */
export function forgetIfRestored(core: Core, lastStamp: number): boolean {
  const { store, account, cipher, emit } = core
  if (lastStamp <= account.lastStamp) return false
  account.lastStamp = lastStamp
  writeNumber(store, 'last_stamp', lastStamp)
  cipher.sessions.clear()
  store.run("UPDATE peers SET devices = ''")
  store.run('UPDATE outbox SET state = 0, stamp = 0, request = NULL WHERE state = ?', SENT)
  skipPrekeyIds(store)
  emit('fault', { code: 'restored', text: clientErrors.restored.about })
  return true
}
