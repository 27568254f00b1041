/** Secrets of an installation that nobody set: made once, kept in a file that only its owner can read. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, type Secret, secret } from '../core/config.ts'

/** The file's value, made at the first call. */
function keep(folder: string, name: string): string {
  const file = join(folder, name)
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const value = randomBytes(24).toString('base64url')
  writeFileSync(file, `${value}\n`, { mode: 0o600, flag: 'wx' })
  return value
}

export const ADMIN_TOKEN_FILE = 'admin-token'
export const OBSERVER_PASSWORD_FILE = 'observer-password'
export const PHONE_KEY_FILE = 'phone-key'

export function adminTokenOf(config: Config): Secret {
  return config.adminToken ?? secret(keep(config.dataDir, ADMIN_TOKEN_FILE))
}

export function observerPasswordOf(config: Config): Secret {
  return config.observerPassword ?? secret(keep(config.dataDir, OBSERVER_PASSWORD_FILE))
}

/** Accounts are found by hashes under it: who loses it loses which number is whose. */
export function phoneKeyOf(config: Config): Secret {
  return config.phoneKey ?? secret(keep(config.dataDir, PHONE_KEY_FILE))
}
