/**
 * A circuit breaker (cockatiel) in front of a store: after some failures in a row nobody waits for it any more, calls
 * are refused at once, and one probe at a time finds out when it is back. Calls never are the probe: whoever is served
 * from memory meanwhile must not wait for a store that is silent.
 */
import { CircuitState, circuitBreaker, handleWhen, type IBackoff } from 'cockatiel'
import type { BreakerState } from './opened.ts'

export interface BreakerRules {
  /** Weights of failures in a row, with no success between, that open it. */
  readonly failuresMax: number
  /** While it is open the store is asked so often; one that does not answer ends its probe by itself. */
  readonly probeEveryMs: number
  /** How much a failure says about the store: 0 for nothing, `failuresMax` to open at once. */
  weigh(error: unknown): number
  /** Asks the store; any rejection means that it is not back. */
  probe(): Promise<unknown>
  /** What calls are refused with. */
  refusal(): Error
  onOpen?(error: unknown): void
  onClosed?(): void
}

export interface Breaker {
  state(): BreakerState
  /** Runs `work`, or throws the refusal before it is begun. */
  run<T>(work: () => Promise<T>): Promise<T>
  /** Throws the refusal when calls are refused. */
  admit(): void
  /** Stops probing; what it was stays. */
  stop(): void
}

const NAMES: Readonly<Record<CircuitState, BreakerState>> = {
  [CircuitState.Closed]: 'closed',
  [CircuitState.Open]: 'open',
  [CircuitState.HalfOpen]: 'half-open',
  [CircuitState.Isolated]: 'open',
}

class ProbeFault extends Error {}

/** The library would compare wall clocks, which step. The timer of the probe is monotonic, and nobody else comes in. */
const WHEN_PROBED: IBackoff<unknown> = { duration: Number.NEGATIVE_INFINITY, next: () => WHEN_PROBED }

/** In a row, each with its weight. Failures are weighed before the library counts them, some at a time. */
function createCount(failuresMax: number) {
  let weight = 0
  return {
    state: undefined,
    add: (more: number) => {
      weight += more
    },
    success: () => {
      weight = 0
    },
    failure: () => weight >= failuresMax,
  }
}

export function createBreaker(rules: BreakerRules): Breaker {
  const count = createCount(rules.failuresMax)
  const policy = circuitBreaker(
    handleWhen((error) => {
      const weight = error instanceof ProbeFault ? rules.failuresMax : rules.weigh(error)
      count.add(weight)
      return weight > 0
    }),
    { breaker: count, halfOpenAfter: WHEN_PROBED },
  )
  let timer: NodeJS.Timeout | undefined
  let isStopped = false

  function probe(): void {
    policy
      .execute(() =>
        rules.probe().catch((error: Error) => {
          throw new ProbeFault(error.message)
        }),
      )
      .catch(() => undefined)
  }
  policy.onBreak((reason) => {
    const isFirst = timer === undefined
    if (isStopped) return
    clearTimeout(timer)
    timer = setTimeout(probe, rules.probeEveryMs)
    if (isFirst) rules.onOpen?.('error' in reason ? reason.error : undefined)
  })
  policy.onReset(() => {
    timer = undefined
    if (!isStopped) rules.onClosed?.()
  })

  function admit(): void {
    if (policy.state !== CircuitState.Closed) throw rules.refusal()
  }
  return {
    state: () => NAMES[policy.state],
    admit,
    async run(work) {
      admit()
      return policy.execute(work)
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}
