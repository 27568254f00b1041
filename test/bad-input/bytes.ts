/**
 * MQTT packets written byte by byte, so that a test can lie in any of them. Nothing here comes from the server, and
 * nothing is checked: a length, a flag or a text is what it is told to be.
 */

export type Part = Uint8Array | string | number

/** Bytes after each other: numbers are single bytes, texts are UTF-8 without a length. */
export function join(...parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : raw(part))))
}

function raw(bytes: Uint8Array | string): Uint8Array {
  return typeof bytes === 'string' ? Buffer.from(bytes) : bytes
}

export function u16(value: number): Buffer {
  return Buffer.of(value >>> 8, value & 255)
}

/** A text behind its length. Bytes stay as they are. */
export function text(value: string | Uint8Array): Buffer {
  const bytes = raw(value)
  return join(u16(bytes.length), bytes)
}

/** A remaining length. */
export function length(value: number): Buffer {
  const bytes: number[] = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return Buffer.of(...bytes, rest)
    bytes.push((rest & 127) | 128)
  }
}

/** A packet with a true remaining length. */
export function packet(first: number, ...parts: readonly Part[]): Buffer {
  const body = join(...parts)
  return join(first, length(body.length), body)
}

export interface Will {
  readonly topic: string | Uint8Array
  readonly payload: string | Uint8Array
  /** 1 unless it is given. */
  readonly qos?: number
  readonly retain?: boolean
}

export interface ConnectParts {
  readonly first?: number
  readonly name?: string | Uint8Array
  readonly level?: number
  /** Made from the parts that are there, unless it is given. */
  readonly flags?: number
  readonly clean?: boolean
  readonly keepaliveS?: number
  readonly clientId?: string | Uint8Array
  readonly will?: Will
  readonly username?: string | Uint8Array
  readonly password?: string | Uint8Array
  /** Behind everything else. */
  readonly tail?: Uint8Array
}

/** A CONNECT of MQTT 3.1.1, right but for what the parts say. */
export function connectBytes(parts: ConnectParts): Buffer {
  const {
    name = 'MQTT',
    level = 4,
    clean = false,
    keepaliveS = 60,
    clientId = '',
    will,
    username,
    password,
    tail,
  } = parts
  const made =
    (clean ? 2 : 0) |
    (will === undefined ? 0 : 4 | ((will.qos ?? 1) << 3) | (will.retain === true ? 0x20 : 0)) |
    (password === undefined ? 0 : 0x40) |
    (username === undefined ? 0 : 0x80)
  return packet(
    parts.first ?? 0x10,
    text(name),
    level,
    parts.flags ?? made,
    u16(keepaliveS),
    text(clientId),
    ...(will === undefined ? [] : [text(will.topic), text(will.payload)]),
    ...(username === undefined ? [] : [text(username)]),
    ...(password === undefined ? [] : [text(password)]),
    ...(tail === undefined ? [] : [tail]),
  )
}

/** A PUBLISH; `first` 0x32 is QoS 1, and then there is a packet id. */
export function publishBytes(topic: string | Uint8Array, payload: string | Uint8Array, id = 1, first = 0x32): Buffer {
  return packet(first, text(topic), ...((first & 6) === 0 ? [] : [u16(id)]), payload)
}

/** A SUBSCRIBE, every filter with the same QoS. */
export function subscribeBytes(filters: readonly (string | Uint8Array)[], qos = 1, id = 1): Buffer {
  return packet(0x82, u16(id), ...filters.map((filter) => join(text(filter), qos)))
}

export function unsubscribeBytes(filters: readonly (string | Uint8Array)[], id = 1): Buffer {
  return packet(0xa2, u16(id), ...filters.map(text))
}

/** A varint of protobuf. */
export function varint(value: number | bigint): Buffer {
  const bytes: number[] = []
  let rest = BigInt(value)
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Buffer.of(...bytes, Number(rest))
}

/** A field of protobuf: a number as varint, bytes behind their length. */
export function field(number: number, value: number | bigint | Uint8Array): Buffer {
  if (value instanceof Uint8Array) return join(varint(number * 8 + 2), varint(value.length), value)
  return join(varint(number * 8), varint(value))
}
