/**
 * The wire format (wire.proto) as bytes. Hot and written by hand: `decodeSendRequest`, `writeDelivery`,
 * `writeReceiptsDelivery`. The rest goes by the field tables in `codec/schema.ts`, and in
 * `codec/content-schema.ts` for what is inside the ciphertext. All is checked against protobufjs.
 */
export { decodeContent, encodeContent } from './codec/content.ts'
export type {
  Attachment,
  Call,
  Contact,
  Content,
  ContentKind,
  DevicesChanged,
  Edit,
  GroupState,
  HistoryMessage,
  HistoryPiece,
  Location,
  Post,
  Quote,
  Reaction,
  Ref,
  Span,
  SyncRead,
} from './codec/content-plain.ts'
export { type BodyField, type DeliveryHead, deliverySize, writeDelivery } from './codec/delivery.ts'
export {
  decodeDelivery,
  decodeNow,
  encodeDelivery,
  encodeNow,
  encodeSendRequest,
} from './codec/messages.ts'
export { pad, unpad } from './codec/padding.ts'
export type {
  Delivery,
  DeliveryKind,
  Fields,
  Notice,
  Now,
  PlainDeviceBody,
  PlainGroupMessage,
  PlainPairMessage,
  PlainRawMessage,
  PlainReceipts,
  PlainSendRequest,
  PlainSignedEntry,
  WireError,
} from './codec/plain.ts'
export type { WireFault } from './codec/reader.ts'
export { receiptsSize, writeReceiptsDelivery } from './codec/receipts.ts'
export { decodeSendRequest } from './codec/request.ts'
export {
  type DeviceBody,
  type GroupLogRequest,
  type GroupMessage,
  type PairMessage,
  type RawMessage,
  REQUEST,
  type Receipt,
  type RequestKind,
  SCOPE,
  type Scope,
  type SendRequest,
  type SignedEntry,
  type Sync,
  URGENCY,
  type Urgency,
  type Withdraw,
} from './codec/shapes.ts'
export { varintSize, writeVarint } from './codec/varint.ts'
