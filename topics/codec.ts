/**
 * The wire format (wire.proto) as bytes. Hot and written by hand: `decodeSendRequest`, `writeDelivery`,
 * `writeReceiptsDelivery`. The rest goes by the field tables in `codec/schema.ts`. Both are checked against protobufjs.
 */
export { type BodyField, type DeliveryHead, deliverySize, writeDelivery } from './codec/delivery.ts'
export {
  decodeDelivery,
  decodeNow,
  encodeDelivery,
  encodeNow,
  encodeSendRequest,
} from './codec/messages.ts'
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
