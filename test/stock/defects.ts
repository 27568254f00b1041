/**
 * What stock aedes 1.2.0 with aedes-persistence-redis 11.2.2 does instead of keeping each pledge: the pledge must be
 * seen to break so.
 */
import { emptyId, frameCap, severalFilters } from '../suites/admission.ts'
import { afterRestart, deniedFilter, slowReader } from '../suites/apart.ts'
import type { Pledge } from '../suites/broker.ts'
import { backlogFirst, dupOfSender, dupOnResend, overtaken, pubackOrder, wholeBacklog } from '../suites/order.ts'
import { storeFirst, throughKill } from '../suites/stored.ts'
import type { Setup } from './orders.ts'

export interface Defect {
  /** What the broken pledge says it saw. */
  readonly shows: RegExp
  /** The setting under which it shows, where it is not the default. */
  readonly setup?: Omit<Setup, 'redis'>
}

/** Pledges that are not here hold on stock aedes too. */
export const defects: ReadonlyMap<Pledge, Defect> = new Map([
  [storeFirst, { shows: /^PUBACK with the store stopped; after kill -9 the message was lost$/ }],
  [throughKill, { shows: /^[1-9]\d* of \d+ acknowledged messages were lost$/ }],
  [pubackOrder, { shows: /^PUBACKs for 2, 3, 1$/ }],
  [wholeBacklog, { shows: /^1001 of 2500 arrived$/ }],
  [backlogFirst, { shows: /^[1-9]\d* messages came before one that was sent earlier/ }],
  [overtaken, { shows: /^[1-9]\d* of 40 did not arrive: to all/ }],
  [dupOnResend, { shows: /^sent again with DUP=0$/ }],
  [dupOfSender, { shows: /^first delivery with DUP=1$/ }],
  [deniedFilter, { shows: /^b was given "a secret for c"$/ }],
  [afterRestart, { shows: /^alice was given [1-9]\d* times "a secret for bob/, setup: { id: 'fixed' } }],
  [slowReader, { shows: /^0 of 20 messages of another pair arrived$/ }],
  [frameCap, { shows: /^it took 300 KiB from a stranger and waited for more$/ }],
  [emptyId, { shows: /^CONNACK 0$/ }],
  [severalFilters, { shows: /^no SUBACK within 5 s$/, setup: { emitter: 'redis' } }],
])
