/**
 * Small writes of one turn of the event loop, of whatever partitions, as few requests: a request costs a node and this
 * process more than a row does. Only where every node has every row, so that whoever is asked writes all of it itself;
 * and below the sizes from which nodes warn of batches over partitions. Not atomic over partitions. When a request is
 * wrong in itself, its parts are tried each alone: only the one that is wrong fails.
 */
import { StoreDownFault } from '../../core/ports.ts'
import type { Session, Statement } from './session.ts'

/** Statements of one partition. */
export interface Part {
  readonly statements: readonly Statement[]
  readonly bytes: number
}

/** Beyond these a node warns (batch_size_warn_threshold, unlogged_batch_across_partitions_warn_threshold). */
const REQUEST_BYTES_MAX = 4 * 1024
const REQUEST_PARTS_MAX = 10
/** A larger part travels alone. */
const SHARED_BYTES_MAX = 1_024
/** Of a row beside its body. */
const STATEMENT_BYTES = 100

interface Waiting extends Part {
  resolve(): void
  reject(error: unknown): void
}

const sizeOf = ({ bytes, statements }: Part): number => bytes + statements.length * STATEMENT_BYTES

/** Parts in the order in which they came, as many in one as may travel together. */
export function packed<T extends Part>(parts: readonly T[]): T[][] {
  const requests: T[][] = []
  let request: T[] = []
  let bytes = 0
  for (const part of parts) {
    const size = sizeOf(part)
    if (request.length > 0 && (request.length === REQUEST_PARTS_MAX || bytes + size > REQUEST_BYTES_MAX)) {
      requests.push(request)
      request = []
      bytes = 0
    }
    request.push(part)
    bytes += size
  }
  if (request.length > 0) requests.push(request)
  return requests
}

export function createSharedWrites(session: Session): (part: Part) => Promise<void> {
  let waiting: Waiting[] = []

  async function alone({ statements }: Part): Promise<void> {
    if (statements.length === 1) await session.run(statements[0] as Statement)
    else await session.batch(statements)
  }

  async function send(request: readonly Waiting[]): Promise<void> {
    try {
      if (request.length > 1) {
        await session.batch(request.flatMap(({ statements }) => statements))
        for (const { resolve } of request) resolve()
        return
      }
    } catch (error) {
      if (error instanceof StoreDownFault) {
        for (const { reject } of request) reject(error)
        return
      }
    }
    for (const part of request) alone(part).then(part.resolve, part.reject)
  }

  function flush(): void {
    const parts = waiting
    waiting = []
    for (const request of packed(parts)) void send(request)
  }

  return (part) => {
    if (sizeOf(part) > SHARED_BYTES_MAX || !session.isEverywhere()) return alone(part)
    return new Promise((resolve, reject) => {
      if (waiting.length === 0) setImmediate(flush)
      waiting.push({ ...part, resolve, reject })
    })
  }
}
