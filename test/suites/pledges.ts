/** All pledges, in the order in which they are shown. */
import { emptyId, frameCap, severalFilters } from './admission.ts'
import { afterRestart, deniedFilter, slowReader } from './apart.ts'
import type { Pledge } from './broker.ts'
import { backlogFirst, dupOfSender, dupOnResend, overtaken, pubackOrder, wholeBacklog } from './order.ts'
import { control, storeFirst, throughKill } from './stored.ts'

export const pledges: readonly Pledge[] = [
  control,
  storeFirst,
  throughKill,
  pubackOrder,
  wholeBacklog,
  backlogFirst,
  overtaken,
  dupOnResend,
  dupOfSender,
  deniedFilter,
  afterRestart,
  slowReader,
  frameCap,
  emptyId,
  severalFilters,
]
