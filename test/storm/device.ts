/**
 * A device of the storm: plain MQTT over a bare socket, with the backoff of the SDK. It keeps what it is sent to itself,
 * without an acknowledgement, until it is told to take it; then it comes back as often as it is cut off.
 */
import { connect, type Socket } from 'node:net'
import mqtt, { type Packet } from 'mqtt-packet'
import { type Backoff, createBackoff } from '../../client/transport/backoff.ts'
import type { MadeDevice } from '../api/node.ts'

const KEEPALIVE_S = 600
/** A server that does not answer a CONNECT for so long is given up, as the SDK does. */
const ANSWER_MS = 10_000

export interface StormDevice {
  readonly id: string
  /** Payloads of its inbox that came over the present connection. */
  readonly shown: Set<string>
  /** Tries of a connection, and those of them that were refused or cut off before all was there. */
  readonly counts: { tries: number; refused: number; foreign: number }
  /** Connects and subscribes; resolves with SUBACK. */
  join(port: number): Promise<void>
  /** Resolves when it has been shown `rows` over this connection. */
  shownAll(rows: number): Promise<void>
  /** From now on: reconnects to `port` when it is cut off, and acknowledges. Resolves when it has all `rows`. */
  returnTo(port: number, rows: number): Promise<void>
  end(): void
}

interface State {
  readonly device: MadeDevice
  readonly shown: Set<string>
  readonly counts: { tries: number; refused: number; foreign: number }
  readonly backoff: Backoff
  socket: Socket | undefined
  isTaking: boolean
  isEnded: boolean
  onSuback: () => void
  onShown: () => void
  onClose: () => void
}

function frameOf(packet: object): Buffer {
  return mqtt.generate(packet as Packet)
}

function take(state: State, packet: Packet): void {
  const { device, socket, shown, counts } = state
  if (packet.cmd === 'connack' && packet.returnCode === 0) {
    if (!packet.sessionPresent) {
      const subscriptions = [{ topic: `d/${device.device}/from/#`, qos: 1 }]
      socket?.write(frameOf({ cmd: 'subscribe', messageId: 1, subscriptions }))
    } else state.onSuback()
  }
  if (packet.cmd === 'suback') state.onSuback()
  if (packet.cmd !== 'publish') return
  const text = String(packet.payload)
  // `<device> <number>`: what is another's is another's.
  if (!text.startsWith(`${device.device} `)) counts.foreign++
  shown.add(text)
  if (state.isTaking) socket?.write(frameOf({ cmd: 'puback', messageId: packet.messageId }))
  state.onShown()
}

function open(state: State, port: number): void {
  const { device, shown, counts } = state
  shown.clear()
  counts.tries++
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  const parser = mqtt.parser()
  const late = setTimeout(() => socket.destroy(), ANSWER_MS)
  state.socket = socket
  socket.on('connect', () =>
    socket.write(
      frameOf({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clientId: device.device,
        username: device.device,
        password: Buffer.from(device.token),
        clean: false,
        keepalive: KEEPALIVE_S,
      }),
    ),
  )
  socket.on('data', (chunk) => void parser.parse(chunk))
  parser.on('packet', (packet: Packet) => {
    clearTimeout(late)
    take(state, packet)
  })
  parser.on('error', () => socket.destroy())
  socket.on('error', () => undefined)
  socket.on('close', () => {
    clearTimeout(late)
    if (!state.isEnded) state.onClose()
  })
}

export function stormDevice(device: MadeDevice): StormDevice {
  const nothing = (): void => undefined
  const state: State = {
    device,
    shown: new Set(),
    counts: { tries: 0, refused: 0, foreign: 0 },
    backoff: createBackoff(),
    socket: undefined,
    isTaking: false,
    isEnded: false,
    onSuback: nothing,
    onShown: nothing,
    onClose: nothing,
  }
  const shownAll = (rows: number): Promise<void> =>
    new Promise((resolve) => {
      state.onShown = () => {
        if (state.shown.size >= rows) resolve()
      }
      state.onShown()
    })
  return {
    id: device.device,
    shown: state.shown,
    counts: state.counts,
    join: (port) =>
      new Promise((resolve) => {
        state.onSuback = resolve
        state.onClose = () => setTimeout(open, state.backoff.next(), state, port)
        open(state, port)
      }),
    shownAll,
    returnTo(port, rows) {
      state.isTaking = true
      state.backoff.reset()
      const cutOff = state.socket
      state.onClose = () => {
        // Cut off again while it came back.
        if (state.socket !== cutOff) state.counts.refused++
        setTimeout(() => {
          if (!state.isEnded) open(state, port)
        }, state.backoff.next())
      }
      // What it was shown before counts no more; it is closed soon, and cleared then.
      return new Promise((resolve) => {
        state.onShown = () => {
          if (state.socket !== cutOff && state.shown.size >= rows) resolve()
        }
      })
    },
    end() {
      state.isEnded = true
      state.socket?.destroy()
    },
  }
}
