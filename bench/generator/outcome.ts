/** What the ledger says when a load is over, or broken off: the slots that are still held. */
import { ACKED, OPEN, release, type Traffic } from './traffic.ts'

/** Slots of a pair that still wait for their PUBACK, in the order in which their messages were first sent. */
export function unackedSlots(traffic: Traffic, pair: number): number[] {
  const slots: number[] = []
  for (let slot = 0; slot < traffic.slots; slot++) {
    if (((traffic.slotState[pair * traffic.slots + slot] as number) & (OPEN | ACKED)) === OPEN) slots.push(slot)
  }
  const counterOf = (slot: number): number => traffic.slotCounter[pair * traffic.slots + slot] as number
  return slots.sort((a, b) => counterOf(a) - counterOf(b))
}

export type Outcome = {
  /** Acknowledged and never arrived. */
  lost: number
  /** Sent and never acknowledged. */
  unacked: number
  duplicated: number
  misordered: number
  stray: number
}

/** What became of everything that was sent so far; call it when nothing more arrives. */
export function outcome(traffic: Traffic): Outcome {
  let lost = 0
  let unacked = 0
  for (const state of traffic.slotState) {
    if ((state & ACKED) !== 0) lost++
    else if ((state & OPEN) !== 0) unacked++
  }
  const { duplicated, misordered, stray } = traffic
  return { lost, unacked, duplicated, misordered, stray }
}

/** Gives up everything that is still on its way, so that a load can go on after a loss that has been counted. */
export function abandon(traffic: Traffic): void {
  for (let pair = 0; pair < traffic.pairs.length; pair++) {
    for (let slot = 0; slot < traffic.slots; slot++) {
      if (traffic.slotState[pair * traffic.slots + slot] !== 0) release(traffic, pair, slot)
    }
    traffic.unacked[pair] = 0
  }
}
