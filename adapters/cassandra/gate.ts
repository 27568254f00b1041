/** So many at one time, the others in the order in which they came; who waits too long leaves without a turn. */

export interface Gate {
  /** True: it is your turn, and `leave` has to be called. False: `endMs` of the monotonic clock came first. */
  enter(endMs: number): Promise<boolean>
  leave(): void
}

export function createGate(placesMax: number): Gate {
  /** A Set keeps the order of arrival, and who leaves early is out at once. */
  const queue = new Set<() => void>()
  let inside = 0
  return {
    enter(endMs) {
      if (inside < placesMax) {
        inside++
        return Promise.resolve(true)
      }
      return new Promise((resolve) => {
        const admit = () => {
          clearTimeout(timer)
          resolve(true)
        }
        const giveUp = () => {
          queue.delete(admit)
          resolve(false)
        }
        const timer = setTimeout(giveUp, Math.max(0, endMs - performance.now()))
        queue.add(admit)
      })
    },
    leave() {
      const [next] = queue
      if (next === undefined) {
        inside--
        return
      }
      // The place goes to the next one directly: nobody who comes now can take it.
      queue.delete(next)
      next()
    },
  }
}
