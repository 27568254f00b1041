/** The body of a SUBSCRIBE or UNSUBSCRIBE: what parseFilters takes, mqtt-packet understands in the same way. */
import mqtt, { type Packet } from 'mqtt-packet'
import { parseFilters } from '../../../topics/frames.ts'
import { packet } from '../../bad-input/bytes.ts'
import { check, type Target } from '../target.ts'

function byMqttPacket(frame: Buffer): { topic: string; qos: number }[] | undefined {
  let found: { topic: string; qos: number }[] | undefined
  const parser = mqtt.parser()
  parser.on('packet', (each: Packet) => {
    if (each.cmd === 'subscribe') found = each.subscriptions.map(({ topic, qos }) => ({ topic, qos }))
    if (each.cmd === 'unsubscribe') found = each.unsubscriptions.map((topic) => ({ topic, qos: 0 }))
  })
  parser.on('error', () => undefined)
  parser.parse(frame)
  return found
}

export const filters: Target = {
  name: 'filters',
  run(input) {
    for (const subscribe of [true, false]) {
      const frame = packet(subscribe ? 0x82 : 0xa2, input)
      const ours = parseFilters(frame, subscribe)
      if (typeof ours === 'string') continue
      const theirs = byMqttPacket(frame)
      check(theirs?.length === ours.length, 'mqtt-packet reads another number of filters')
      for (const [i, { topic, qos }] of ours.entries()) {
        check(theirs?.[i]?.topic === topic && theirs[i]?.qos === qos, `filter ${i} differs`)
      }
    }
  },
}
