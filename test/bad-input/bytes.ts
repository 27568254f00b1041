/**
 * MQTT packets written byte by byte, so that a test can lie in any of them. Nothing here comes from the server, and nothing is
 * checked: a length, a flag or a text is what it is told to be.
 */

type Part = Uint8Array | string | number

/** Bytes after each other: numbers are single bytes, texts are UTF-8 without a length. */
export function join(...parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part as Uint8Array))))
}

export function u16(value: number): Buffer {
  return Buffer.of(value >>> 8, value & 255)
}

/** A text behind its length. Bytes stay as they are. */
export function text(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as Uint8Array)
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

export interface ConnectParts {
  readonly first?: number
  readonly name?: string | Uint8Array
  readonly level?: number
  /** Made from the parts that are there, unless it is given. */
  readonly flags?: number
  readonly clean?: boolean
  readonly keepaliveS?: number
  readonly clientId?: string | Uint8Array
  readonly will?: { readonly topic: string | Uint8Array; readonly payload: string | Uint8Array; readonly qos?: number; readonly retain?: boolean }
  readonly username?: string | Uint8Array
  readonly password?: string | Uint8Array
  /** Behind everything else. */
  readonly tail?: Uint8Array
}

/** A CONNECT of MQTT 3.1.1, right but for what the parts say. */
export function connectBytes(parts: ConnectParts): Buffer {
  const { name = 'MQTT', level = 4, clean = false, keepaliveS = 60, clientId = '', will, username, password, tail } = parts
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

/** A SUBSCRIBE; a filter is asked for with QoS 1 unless it says otherwise. */
export function subscribeBytes(filters: readonly (string | Uint8Array | readonly [string | Uint8Array, number])[], id = 1): Buffer {
  const parts = filters.map((filter) =>
    typeof filter === 'string' || filter instanceof Uint8Array ? join(text(filter), 1) : join(text(filter[0]), filter[1]),
  )
  return packet(0x82, u16(id), ...parts)
}

export function unsubscribeBytes(filters: readonly (string | Uint8Array)[], id = 1): Buffer {
  return packet(0xa2, u16(id), ...filters.map(text))
}
