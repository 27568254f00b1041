/**
 * The few MQTT 3.1.1 frames that a client sends, built once before the load starts. Written apart from the server's own
 * codec, so that one mistake cannot hide in both.
 */
export type Login = {
  clientId: string
  /** User name and password; both undefined for a server that admits anybody. */
  user: string | undefined
  password: string | undefined
}

export const DUP = 0x08
export const DISCONNECT = Buffer.from([0xe0, 0])

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

function frame(head: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const length: number[] = []
  let rest = body.length
  do {
    length.push((rest & 127) | (rest > 127 ? 128 : 0))
    rest >>>= 7
  } while (rest > 0)
  return Buffer.concat([Buffer.from([head, ...length]), body])
}

export function connectFrame(login: Login, clean: boolean, keepaliveS: number): Buffer {
  const flags = (clean ? 2 : 0) | (login.user === undefined ? 0 : 128) | (login.password === undefined ? 0 : 64)
  const parts = [text('MQTT'), Buffer.from([4, flags, keepaliveS >> 8, keepaliveS & 255]), text(login.clientId)]
  if (login.user !== undefined) parts.push(text(login.user))
  if (login.password !== undefined) parts.push(text(login.password))
  return frame(0x10, ...parts)
}

/** SUBSCRIBE with one filter, QoS 1. Packet id 1: slots use it too, but not before the SUBACK. */
export function subscribeFrame(filter: string): Buffer {
  return frame(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([1]))
}

export type PublishTemplate = {
  /** A whole QoS 1 PUBLISH frame with packet id 0. */
  frame: Buffer
  packetIdAt: number
  payloadAt: number
}

export function publishTemplate(topic: string, payload: Uint8Array): PublishTemplate {
  const bytes = frame(0x32, text(topic), Buffer.from([0, 0]), Buffer.from(payload))
  const payloadAt = bytes.length - payload.length
  return { frame: bytes, packetIdAt: payloadAt - 2, payloadAt }
}
