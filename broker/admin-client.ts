/** A client of the admin API, for the programs that come with the server: where it is, its token, one POST. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../core/config.ts'
import { ADMIN_TOKEN_FILE } from './secrets.ts'

/** The server refused, or is not there. The message says what to do. */
export class ServerFault extends Error {}
/** No token is to be had. The message says what to do. */
export class TokenFault extends Error {}

/** The HTTP side of a server with these settings, as it is reached from this machine. */
export function urlOf(config: Config): string {
  const { httpHost: host, httpPort } = config
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${httpPort}`
}

/** ADMIN_TOKEN, or the file that the server made. Throws TokenFault. */
export function tokenOf(config: Config): string {
  if (config.adminToken !== undefined) return config.adminToken.reveal()
  const file = join(config.dataDir, ADMIN_TOKEN_FILE)
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`
    throw new TokenFault(`${file} ${why}; start the server here first, or set DATA_DIR as it has it, or ADMIN_TOKEN.`)
  }
}

export interface MadeDevice {
  readonly device: string
  readonly user: string
  readonly token: string
  readonly number: number
  readonly registrationId: number
}

export interface AdminClient {
  /** Makes a page of devices; the body is that of POST /v1/admin/devices. Rejects with ServerFault. */
  make(body: object): Promise<MadeDevice[]>
  revoke(device: string): Promise<void>
}

export function createAdminClient(url: string, token: string): AdminClient {
  async function post(path: string, body: object): Promise<Record<string, unknown>> {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    let response: Response
    try {
      response = await fetch(new URL(path, url), { method: 'POST', headers, body: JSON.stringify(body) })
    } catch {
      throw new ServerFault(`No server answers at ${url}; start it with npm start, or say where it is with --url.`)
    }
    const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>
    if (response.ok) return answer
    throw new ServerFault(`${url} says ${response.status}: ${String(answer['detail'] ?? response.statusText)}`)
  }
  return {
    make: async (body) => (await post('/v1/admin/devices', body))['devices'] as MadeDevice[],
    revoke: async (device) => void (await post(`/v1/admin/devices/${encodeURIComponent(device)}/revoke`, {})),
  }
}
