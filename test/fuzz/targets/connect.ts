/** The body of a CONNECT: what parseConnect takes, mqtt-packet understands in the same way. */
import mqtt, { type IConnectPacket } from 'mqtt-packet'
import { type Connect, parseConnect } from '../../../topics/frames.ts'
import { packet } from '../../bad-input/bytes.ts'
import { check, type Target } from '../target.ts'

function byMqttPacket(frame: Buffer): IConnectPacket | undefined {
  let found: IConnectPacket | undefined
  const parser = mqtt.parser()
  parser.on('packet', (each) => {
    if (each.cmd === 'connect') found = each
  })
  parser.on('error', () => undefined)
  parser.parse(frame)
  return found
}

function compare(ours: Connect, theirs: IConnectPacket | undefined): void {
  check(theirs !== undefined, 'a CONNECT was taken that mqtt-packet does not read')
  const { clientId, clean, keepaliveS, username, password, will } = ours
  check(theirs?.clientId === clientId, 'the client ids differ')
  check(theirs?.clean === clean && theirs.keepalive === keepaliveS, 'clean or keepalive differ')
  check((theirs?.username ?? '') === (username ?? ''), 'the user names differ')
  check(Buffer.compare(theirs?.password ?? Buffer.alloc(0), password ?? Buffer.alloc(0)) === 0, 'the passwords differ')
  check((theirs?.will === undefined) === (will === undefined), 'one reads a will')
  const read = theirs?.will
  if (will === undefined || read === undefined) return
  const { topic, qos, retain, payload } = read
  check(topic === will.topic && qos === will.qos && retain === will.retain, 'the wills differ')
  check(payload.length === will.bytes, 'the payloads of the wills differ')
}

export const connect: Target = {
  name: 'connect',
  run(input) {
    const frame = packet(0x10, input)
    const ours = parseConnect(frame)
    if ('reason' in ours) check(ours.returnCode === 0 || ours.returnCode === 1, `CONNACK ${ours.returnCode}`)
    else compare(ours, byMqttPacket(frame))
  },
}
