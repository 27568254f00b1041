/**
 * protobufjs reading topics/wire.proto: what the codec is compared with. `view` is a message with nothing that says
 * nothing (0, false, empty), numbers as decimal text and bytes as hex, so that two readers can be compared whatever
 * their shapes.
 */
import { readFileSync } from 'node:fs'
import protobuf from 'protobufjs'
import { REQUEST, type SendRequest } from '../../topics/codec.ts'

const root = protobuf.parse(readFileSync(new URL('../../topics/wire.proto', import.meta.url), 'utf8')).root
root.resolveAll()

export type MessageType = 'SendRequest' | 'Delivery' | 'Now' | 'Content'
export type View = string | true | readonly View[] | { readonly [key: string]: View }

export function messageType(name: string): protobuf.Type {
  return root.lookupType(`heliograph.wire.v1.${name}`)
}

/**
 * Bytes as protobufjs writes them. `message` has wire.proto's names in camelCase and leaves out what is 0, false or
 * empty, for protobufjs writes all that it is given; `accepted` is absolute pairs.
 */
export function oracleBytes(type: MessageType, message: object): Uint8Array {
  const given = asGiven(message, '') as { [key: string]: unknown }
  return messageType(type).encode(messageType(type).fromObject(given)).finish()
}

/** What protobufjs reads in the bytes; throws what it throws. */
export function oracleView(type: MessageType, bytes: Uint8Array): View {
  const message = messageType(type).decode(bytes)
  return view(messageType(type).toObject(message, { longs: String, oneofs: true }), absolutePairs)
}

/** The proto3 JSON form: for other languages. */
export function oracleJson(type: MessageType, bytes: Uint8Array): unknown {
  return messageType(type).toObject(messageType(type).decode(bytes), { longs: String, enums: String, bytes: String })
}

/** The view of what our decoders give. */
export function viewOf(message: object): View {
  return view(message, (pairs) => pairs)
}

/** The view of a SendRequest, whose bodies are ranges of `bytes`. */
export function viewOfRequest(bytes: Uint8Array, request: SendRequest): View {
  const body = (start: number, end: number): Uint8Array => bytes.subarray(start, end)
  const devices = (list: NonNullable<SendRequest['pair']>['devices']): object[] =>
    list.map(({ field, start, end, device, registrationId, member }) => {
      const name = field === 2 ? 'whisper' : field === 3 ? 'prekey' : field === 8 ? 'plaintext' : undefined
      const named = name === undefined ? {} : { body: name, [name]: body(start, end) }
      return { ...named, device, registrationId, member }
    })
  const { pair, group, raw, groupChange, ...rest } = request
  const kind = Object.entries(REQUEST).find(([, number]) => number === request.kind)?.[0]
  return viewOf({
    ...rest,
    kind,
    pair: pair && {
      peer: body(pair.peerAt, pair.peerAt + 16),
      group: pair.group,
      devices: devices(pair.devices),
      own: devices(pair.own),
      scope: pair.scope,
    },
    group: group && {
      group: group.group,
      roster: group.roster,
      scope: group.scope,
      senderKey: body(group.start, group.end),
      devices: devices(group.devices),
    },
    raw: raw && { peer: raw.peer, group: raw.group, raw: body(raw.start, raw.end) },
    groupChange: groupChange && {
      entry: body(groupChange.start, groupChange.end),
      signature: body(groupChange.signatureStart, groupChange.signatureEnd),
    },
  })
}

function absolutePairs(differences: readonly string[]): readonly string[] {
  const pairs: number[] = []
  for (const text of differences) pairs.push(Number(text) + (pairs.at(-2) ?? 0))
  return pairs.map(String)
}

function view(value: unknown, pairs: (list: readonly string[]) => readonly string[]): View {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  if (typeof value === 'string' || value === true) return value
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString('hex')}`
  if (Array.isArray(value)) return value.map((entry) => view(entry, pairs))
  const entries = Object.entries(value as object).flatMap(([key, each]): [string, View][] => {
    if (each === undefined || each === false || key === 'fault') return []
    const seen = view(each, pairs)
    if (seen === '' || seen === '0' || seen === '0x' || (Array.isArray(seen) && seen.length === 0)) return []
    return [[key, key === 'accepted' ? pairs(seen as string[]) : seen]]
  })
  return Object.fromEntries(entries)
}

/** As protobufjs takes it: differences of accepted pairs, 64-bit numbers as text. `key` is where the value stands. */
function asGiven(value: unknown, key: string): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  if (!Array.isArray(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, asGiven(each, name)]))
  }
  if (key !== 'accepted') return value.map((entry) => asGiven(entry, ''))
  return value.map((entry: number, i) => entry - (i < 2 ? 0 : (value[i - 2] as number)))
}
