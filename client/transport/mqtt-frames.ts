/** The packets that the SDK writes by hand (MQTT 3.1.1): many of them, and nothing about them is mqtt.js' business. */
import { packetIdAt, publishBytes, writePublishHead } from '../../topics/frames.ts'

/** Which delivery of which connection. `packetId` 0: it came with QoS 0 and needs no acknowledgement. */
export interface Ack {
  readonly connection: number
  readonly packetId: number
}

const PUBACK_BYTES = 4
/** First two bytes of a PUBACK (3.4.1). */
const PUBACK_HEAD = 0x4002

/** A QoS 1 PUBLISH. */
export function publishFrame(topic: Uint8Array, packetId: number, payload: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(publishBytes(topic.length, payload.length))
  frame.set(payload, writePublishHead(frame, 0, topic, payload.length))
  frame.writeUInt16BE(packetId, packetIdAt(frame, 0))
  return frame
}

/** PUBACKs one behind the other, in the order given; none for what came with QoS 0. */
export function pubackFrames(acks: readonly Ack[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(PUBACK_BYTES * acks.length)
  let end = 0
  for (const { packetId } of acks) {
    if (packetId === 0) continue
    end = bytes.writeUInt16BE(PUBACK_HEAD, end)
    end = bytes.writeUInt16BE(packetId, end)
  }
  return bytes.subarray(0, end)
}
