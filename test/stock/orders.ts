/** What the stock broker's process and its parent agree on. */

/** What aedes is started with. */
export interface Setup {
  /** Path of the socket of Redis. */
  readonly redis: string
  /** Unset: aedes takes a random one at every start. */
  readonly id?: string
  /** Default: the one in memory. */
  readonly emitter?: 'redis'
}
/** Takes `ms` to decide about a PUBLISH to `topic`. */
export interface Order {
  readonly topic: string
  readonly ms: number
}

export const CROWD_TOPIC = 'crowd'
export const inboxPrefix = (id: string): string => `inbox/${id}/`
