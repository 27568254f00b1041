/**
 * The envelope of wire.proto as field tables, for what is not hot. One row per field: number, name, type. A test
 * compares them with the file. The content is in `content-schema.ts`.
 */
import { limits } from '../limits.ts'
import { type MessageName, messageName } from './reader.ts'

export type FieldType =
  | 'uint32'
  | 'uint64'
  | 'bool'
  | 'enum'
  | 'fixed32'
  | 'fixed64'
  | 'double'
  | 'string'
  | 'bytes'
  | 'id'
  | 'strings'
  | 'bytesList'
  | 'ids'
  | 'uint32s'
  | 'uint64s'
  /** uint64s whose pairs are differences on the wire. */
  | 'pairs'
  | 'message'
  | 'messages'

export interface Field {
  readonly number: number
  readonly name: string
  readonly type: FieldType
  readonly of: Schema | undefined
  /** Largest enum value, or most entries of a list, where a strict reader holds it. */
  readonly max: number
  readonly isInOneof: boolean
}
export interface Schema {
  readonly message: MessageName
  /** In ascending order. */
  readonly fields: readonly Field[]
  readonly byNumber: readonly (Field | undefined)[]
  /** Key that tells which member of the oneof is there; '' when there is no oneof. */
  readonly oneof: string
  /** The message with no field: all keys, to be copied. */
  readonly empty: Readonly<Record<string, unknown>>
}

interface FieldRow {
  readonly type: FieldType
  readonly of?: Schema
  readonly max?: number
}
type Rows = Readonly<Record<string, readonly [number, FieldType | FieldRow]>>

const NONE: readonly unknown[] = Object.freeze([])
export const LISTS: ReadonlySet<FieldType> = new Set<FieldType>([
  'strings',
  'bytesList',
  'ids',
  'uint32s',
  'uint64s',
  'pairs',
  'messages',
])
const NUMBERS: ReadonlySet<FieldType> = new Set<FieldType>(['uint32', 'uint64', 'enum', 'fixed32', 'double'])

function emptyOf(field: Field): unknown {
  if (field.isInOneof) return undefined
  if (LISTS.has(field.type)) return NONE
  if (NUMBERS.has(field.type)) return 0
  if (field.type === 'fixed64') return 0n
  if (field.type === 'string') return ''
  return field.type === 'bool' ? false : undefined
}

function fieldsOf(rows: Rows, isInOneof: boolean): Field[] {
  return Object.entries(rows).map(([name, [number, row]]) => {
    const { type, of, max } = typeof row === 'string' ? { type: row, of: undefined, max: undefined } : row
    return { number, name, type, of, max: max ?? Number.MAX_SAFE_INTEGER, isInOneof }
  })
}

/** A message: its fields, and the members of its oneof if it has one. */
export function schema(
  name: string,
  rows: Rows,
  oneof = '',
  members: Rows = {},
  reserved: readonly number[] = [],
): Schema {
  const fields = [...fieldsOf(rows, false), ...fieldsOf(members, true)].sort((a, b) => a.number - b.number)
  const byNumber: (Field | undefined)[] = []
  for (const field of fields) byNumber[field.number] = field
  const empty = Object.fromEntries([
    ...(oneof === '' ? [] : [[oneof, undefined] as const]),
    ...fields.map((field) => [field.name, emptyOf(field)] as const),
  ])
  const numbers = fields.map((field) => field.number)
  return { message: messageName(name, numbers, reserved), fields, byNumber, oneof, empty }
}

/** A message that is read by itself also says that it is no WireFault. */
export function top(of: Schema): Schema {
  return { ...of, empty: { fault: false, ...of.empty } }
}

export function one(of: Schema): FieldRow {
  return { type: 'message', of }
}
/** `max` is held by a strict reader; a lenient one takes what fits into its bytes. */
export function many(of: Schema, max = Number.MAX_SAFE_INTEGER): FieldRow {
  return { type: 'messages', of, max }
}
const seqs: FieldRow = { type: 'uint64s', max: limits.seqsPerListMax }
const scope: FieldRow = { type: 'enum', max: 2 }

export const deviceBody = schema(
  'DeviceBody',
  { device: [9, 'uint32'], registrationId: [10, 'uint32'], member: [11, 'uint32'] },
  'body',
  { whisper: [2, 'bytes'], prekey: [3, 'bytes'], plaintext: [8, 'bytes'] },
  [6],
)
const bodies = many(deviceBody, limits.devicesPerRequestMax)

const pairMessage = schema('PairMessage', {
  peer: [4, 'id'],
  group: [5, 'id'],
  devices: [1, bodies],
  own: [2, bodies],
  scope: [3, scope],
})
const groupMessage = schema('GroupMessage', {
  group: [5, 'id'],
  roster: [1, 'uint64'],
  senderKey: [7, 'bytes'],
  devices: [2, bodies],
  scope: [3, scope],
})
const rawMessage = schema('RawMessage', { peer: [4, 'id'], group: [5, 'id'], raw: [1, 'bytes'] })
const receipt = schema('Receipt', {
  peer: [4, 'id'],
  group: [5, 'id'],
  delivered: [1, 'uint64'],
  read: [2, 'uint64'],
  played: [3, seqs],
  expired: [7, seqs],
  accepted: [8, { type: 'pairs', max: limits.seqsPerListMax }],
  member: [12, 'uint32'],
  count: [9, 'uint32'],
  own: [13, 'bool'],
})
const receipts = schema('Receipts', { items: [1, many(receipt, limits.receiptsPerRequestMax)] })
const sync = schema('Sync', { peer: [4, 'id'], group: [5, 'id'], afterSeq: [1, 'uint64'], limit: [2, 'uint32'] })
const groupLogRequest = schema('GroupLogRequest', { group: [5, 'id'], fromEpoch: [1, 'uint64'] })
const signedEntry = schema('SignedEntry', { entry: [1, 'bytes'], signature: [2, 'bytes'] })
const withdraw = schema('Withdraw', { peer: [4, 'id'], group: [5, 'id'], seqs: [1, seqs] })

export const sendRequest = schema(
  'SendRequest',
  {
    stamp: [1, 'uint64'],
    urgency: [11, { type: 'enum', max: 3 }],
    expiresInS: [12, 'uint32'],
    afterSeq: [13, 'uint64'],
  },
  'kind',
  {
    pair: [2, one(pairMessage)],
    group: [3, one(groupMessage)],
    raw: [4, one(rawMessage)],
    receipts: [5, one(receipts)],
    sync: [7, one(sync)],
    groupLog: [8, one(groupLogRequest)],
    groupChange: [9, one(signedEntry)],
    withdraw: [10, one(withdraw)],
  },
  [6, 14, 15],
)

const caughtUp = schema('CaughtUp', { serverMs: [1, 'uint64'], wire: [2, 'uint32'], lastStamp: [3, 'uint64'] })
const gone = schema('Gone', { seqs: [1, seqs] })
const prekeysLow = schema('PrekeysLow', { ec: [1, 'uint32'], kem: [2, 'uint32'] })
const notice = schema('Notice', {}, 'kind', {
  prekeysLow: [1, one(prekeysLow)],
  devicesChanged: [2, 'bytes'],
  identityChanged: [3, 'bytes'],
  profileChanged: [4, 'bytes'],
  rosterChanged: [5, 'bytes'],
  revoked: [7, 'uint32'],
  reconnectInS: [8, 'uint32'],
  gap: [9, 'uint32'],
})
const error = schema('Error', {
  stamp: [1, 'uint64'],
  code: [2, 'uint32'],
  retry: [3, 'enum'],
  retryInS: [4, 'uint32'],
  missing: [5, bodies],
  extra: [7, bodies],
  stale: [8, bodies],
  own: [13, 'bool'],
  roster: [10, 'uint64'],
  epoch: [11, 'uint64'],
  lastStamp: [12, 'uint64'],
})

export const delivery = top(
  schema(
    'Delivery',
    {
      peer: [4, 'id'],
      group: [5, 'id'],
      device: [9, 'uint32'],
      seq: [10, 'uint64'],
      member: [12, 'uint32'],
      own: [13, 'bool'],
      distribution: [15, one(deviceBody)],
    },
    'kind',
    {
      raw: [1, 'bytes'],
      whisper: [2, 'bytes'],
      prekey: [3, 'bytes'],
      senderKey: [7, 'bytes'],
      plaintext: [8, 'bytes'],
      receipts: [14, one(receipts)],
      entry: [16, one(signedEntry)],
      notice: [17, one(notice)],
      error: [18, one(error)],
      caughtUp: [19, one(caughtUp)],
      gone: [20, one(gone)],
    },
    [6],
  ),
)

const presence = schema('Presence', { state: [1, 'uint32'], lastSeen: [2, 'fixed32'] })
const watch = schema('Watch', { users: [1, { type: 'ids', max: limits.watchUsersMax }] })
const callSignal = schema('CallSignal', { call: [1, 'fixed64'], sealed: [2, 'bytes'] })

export const now = top(
  schema('Now', { peer: [4, 'id'], group: [5, 'id'], device: [9, 'uint32'], member: [12, 'uint32'] }, 'kind', {
    typing: [1, { type: 'enum', max: 3 }],
    presence: [2, one(presence)],
    watch: [3, one(watch)],
    signal: [7, one(callSignal)],
  }),
)
