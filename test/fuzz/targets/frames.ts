/** PUBLISH frames as we write them, from any topic and payload, are those that mqtt-packet writes. */
import mqtt from 'mqtt-packet'
import { packetIdAt, publishBytes, publishQos0, readText, writePublishHead } from '../../../topics/frames.ts'
import { check, type Target } from '../target.ts'

/** The first byte of an input says how much of it is the topic; the two behind it are the packet id. */
export const frames: Target = {
  name: 'frames',
  run(input) {
    const topicEnd = Math.min(input.length, 3 + (input[0] ?? 0))
    const topic = input.subarray(3, topicEnd)
    const payload = input.subarray(topicEnd)
    const text = readText(topic)
    if (text === undefined || text === '') return
    const asked = { cmd: 'publish', topic: text, payload, dup: false, retain: false } as const
    check(mqtt.generate({ ...asked, qos: 0 }).equals(publishQos0(topic, payload)), 'QoS 0 differs')
    const messageId = ((input[1] ?? 0) << 8) | (input[2] ?? 0) || 1
    const bytes = publishBytes(topic.length, payload.length)
    const frame = Buffer.alloc(bytes)
    const at = writePublishHead(frame, 0, topic, payload.length)
    frame.set(payload, at)
    check(at + payload.length === bytes, 'its length is not what was said')
    frame.writeUInt16BE(messageId, packetIdAt(frame, 0))
    check(mqtt.generate({ ...asked, qos: 1, messageId }).equals(frame), 'QoS 1 differs')
  },
}
