/**
 * A database that was put back from an older copy: its sessions would use message keys a second time, and its prekeys
 * were spent. The server tells the last stamp of this device at every connection; a stamp that this database never gave
 * is the proof. Sessions go, ids of prekeys begin elsewhere, and what was under way is encrypted anew under stamps
 * above; the recipients know each content by its name, and show it once.
 */

import { seqFromMs } from '../../topics/ids.ts'
import type { Context } from '../context.ts'
import { readNumber, writeNumber } from '../crypto/account.ts'
import { skipPrekeyIds } from '../crypto/prekeys.ts'
import { clientErrors } from '../faults.ts'
import { SENT, STORED } from '../outbox/outbox-rows.ts'
import { forgetAllDevices } from '../store/device-lists.ts'
import type { Turn } from '../store/open.ts'

const STAMP_MAX = 2 ** 50
const RESTORED_SEQ = 'restored_seq'

/** The seq of the time when this database was found to be an old copy; 0: it never was. */
export const restoredSeq = ({ store }: Context): number => readNumber(store, RESTORED_SEQ)

/** True: the database was an old copy, and new prekeys have to be uploaded. */
export function forgetIfRestored(context: Context, turn: Turn, lastStamp: number): boolean {
  const { store, account, cipher, emit } = context
  // No clock gives such a stamp; taken over, it would leave no room for another one.
  if (lastStamp <= account.lastStamp || lastStamp > STAMP_MAX) return false
  writeNumber(store, 'last_stamp', lastStamp)
  writeNumber(store, RESTORED_SEQ, seqFromMs(context.now()))
  cipher.sessions.clear()
  forgetAllDevices(store)
  // Also what was stored: the server told its number once, perhaps to the database that is gone.
  const underWay = 'state = ? OR (state = ? AND seq = 0)'
  store.run(`UPDATE outbox SET state = 0, stamp = 0, request = NULL WHERE ${underWay}`, SENT, STORED)
  skipPrekeyIds(store)
  // Known as done only when it is: a turn that fails is tried again, and must find this out again.
  turn.after(() => {
    account.lastStamp = Math.max(account.lastStamp, lastStamp)
    emit('fault', { code: 'restored', text: clientErrors.restored.about })
  })
  return true
}
