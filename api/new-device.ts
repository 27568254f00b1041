/** A device as it is asked for and as it is answered: its random id and token, its keys verified, its session. */
import { randomInt } from 'node:crypto'
import { Type } from 'typebox'
import type { KeySet, NewPersonDevice, Ports } from '../core/ports.ts'
import { verifyUpload } from '../core/prekeys.ts'
import { errorOf } from '../topics/errors.ts'
import { uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import { newToken } from './bearer.ts'
import { keySetSchema, parseKeyUpload } from './key-schema.ts'
import { ProblemFault } from './problem.ts'
import { bytesOf, bytesText, deviceId, handle, registrationId, uuid } from './shapes.ts'

const ID_CHARS = 'abcdefghijklmnopqrstuvwxyz0123456789'
const IDENTITY_KEY_BYTES = 33

/** What every new device says of itself. */
export const deviceProperties = {
  identityKey: bytesText(IDENTITY_KEY_BYTES, IDENTITY_KEY_BYTES),
  registrationId,
  keys: keySetSchema,
}

export const session = Type.Object({
  device: deviceId,
  user: uuid,
  number: Type.Integer(),
  token: Type.String({ description: 'Shown here and never again. MQTT password of the device.' }),
  ws: Type.String({ description: 'Where MQTT over WebSocket is.' }),
  handle: Type.Optional(handle),
})

export interface AskedDevice {
  readonly identityKey: string
  readonly registrationId: number
  readonly name?: string
  readonly keys: Parameters<typeof parseKeyUpload>[0]
}

/** Nothing but a new account helps, and registering gives one. */
export const numbersFull = (): ProblemFault =>
  new ProblemFault('devices_full', 'The account has had all its device numbers; register the phone again.')

export interface FreshDevice {
  readonly identityKey: Uint8Array
  readonly token: string
  readonly device: NewPersonDevice
}

/** The device that a body asks for, its keys verified under its identity key. Throws a ProblemFault. */
export function freshDevice(asked: AskedDevice): FreshDevice {
  const identityKey = bytesOf(asked.identityKey, 'identityKey')
  const keys = parseKeyUpload(asked.keys) as KeySet
  const fault = verifyUpload(identityKey, keys)
  if (fault !== undefined) throw new ProblemFault(fault, errorOf(fault).about)
  const { token, tokenHash } = newToken()
  const id = Array.from({ length: limits.deviceIdCharsMax }, () => ID_CHARS[randomInt(ID_CHARS.length)]).join('')
  const sealedName = asked.name === undefined ? undefined : bytesOf(asked.name, 'name')
  return {
    identityKey,
    token,
    device: { id, registrationId: asked.registrationId, name: sealedName, tokenHash, keys },
  }
}

/** What the new device is told, once. */
export async function sessionOf(
  { directory }: Ports,
  user: Uint8Array,
  { device, token }: FreshDevice,
  number: number,
  ws: string,
) {
  const account = await directory.account(user)
  return {
    device: device.id,
    user: uuidText(user),
    number,
    token,
    ws,
    ...(account?.handle === undefined ? {} : { handle: account.handle }),
  }
}
