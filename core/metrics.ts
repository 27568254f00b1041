/**
 * Counters of a process: plain numbers, raised where things happen, read by /metrics, `ops/…` and `$SYS`. Never per
 * user.
 */
export interface Metrics {
  readonly startedMs: number
  /** PUBLISH frames taken from devices, and their bytes. */
  publishesIn: number
  bytesIn: number
  /** SUBSCRIBE, UNSUBSCRIBE, PINGREQ and DISCONNECT frames, of observers too. */
  controlsIn: number
  /** Bytes read from sockets, and written to those of devices by the plugins. */
  socketBytesIn: number
  socketBytesOut: number
  /** PUBLISH frames written to devices, and their bytes. */
  publishesOut: number
  bytesOut: number
  /** Rows that went out with DUP. */
  resent: number
  /** PUBACKs written after something was stored. */
  stored: number
  /** Requests recognised as sent before. */
  repeated: number
  /** Rows acknowledged by devices. */
  acknowledged: number
  /** PUBACKs for ids outside the window. */
  unknownPubacks: number
  /** Refusals by name of the error catalogue. */
  readonly refused: Record<string, number>
  /** Ended connections by name of the disconnect catalogue. */
  readonly disconnects: Record<string, number>
  /** Refused or ended before CONNACK, by the same names. */
  readonly rejected: Record<string, number>
  /** Those of observers included. */
  connections: number
  observers: number
  connectionsMax: number
  connects: number
  /** Bytes of PUBLISHes that wait for their commit. */
  heldBytes: number
}

export function createMetrics(startedMs: number): Metrics {
  return {
    startedMs,
    publishesIn: 0,
    bytesIn: 0,
    controlsIn: 0,
    socketBytesIn: 0,
    socketBytesOut: 0,
    publishesOut: 0,
    bytesOut: 0,
    resent: 0,
    stored: 0,
    repeated: 0,
    acknowledged: 0,
    unknownPubacks: 0,
    refused: {},
    disconnects: {},
    rejected: {},
    connections: 0,
    observers: 0,
    connectionsMax: 0,
    connects: 0,
    heldBytes: 0,
  }
}

export function countBy(counters: Record<string, number>, name: string): void {
  counters[name] = (counters[name] ?? 0) + 1
}
