/**
 * Who is it? The password is the device's token, 256 random bits; its SHA-256 is looked up by device id. Client id
 * and user name are the device id: a token works for no other name. A wrong token costs one hash and one read.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Ports, Principal } from '../core/ports.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { CONNACK_CREDENTIALS, CONNACK_UNAVAILABLE, type Connect } from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'

export const OBSERVER = 'observer'
export type Login =
  | { readonly who: 'device'; readonly principal: Principal }
  | { readonly who: 'observer' }
  | { readonly who: 'refused'; readonly returnCode: number; readonly reason: DisconnectReason }

const hashOf = (token: Uint8Array): Buffer => createHash('sha256').update(token).digest()
const BAD: Login = { who: 'refused', returnCode: CONNACK_CREDENTIALS, reason: 'bad_credentials' }
const LATE: Login = { who: 'refused', returnCode: CONNACK_UNAVAILABLE, reason: 'authenticate_timeout' }

/** Resolves within `timeoutMs`, whatever the directory does. */
export async function authenticate(
  ports: Ports,
  connect: Connect,
  observerHash: Uint8Array,
  timeoutMs: number,
): Promise<Login> {
  const { username, password, clientId } = connect
  if (username === undefined || password === undefined || password.length > limits.tokenBytesMax) return BAD
  const hash = hashOf(password)
  if (username === OBSERVER) return timingSafeEqual(hash, observerHash) ? { who: 'observer' } : BAD
  if (username !== clientId) return BAD
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, 'late')
  })
  try {
    const principal = await Promise.race([ports.directory.authenticate(clientId, hash), late])
    if (principal === 'late') return LATE
    return principal === undefined ? BAD : { who: 'device', principal }
  } catch {
    return LATE
  } finally {
    clearTimeout(timer)
  }
}
