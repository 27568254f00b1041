/**
 * Secrets of an installation that nobody set: made once, kept in files that only their owner can read. All brokers of
 * a deployment have the same: what the first one made, the others are told.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, ConfigFault, type Secret, secret } from '../core/config.ts'

export interface Secrets {
  readonly adminToken: Secret
  readonly observerPassword: Secret
  /** Accounts are found by hashes under it: who loses it loses which number is whose. */
  readonly phoneKey: Secret
}

/** The deployment's value of this name: `own`, where there was none yet. */
export type Share = (name: string, own: string) => Promise<string>

export const ADMIN_TOKEN_FILE = 'admin-token'
export const OBSERVER_PASSWORD_FILE = 'observer-password'
export const PHONE_KEY_FILE = 'phone-key'

const alone: Share = async (_name, own) => own

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** What was set, else the deployment's value, which the file then holds too: commands of this machine look there. */
async function secretOf(config: Config, name: string, set: Secret | undefined, share: Share): Promise<Secret> {
  if (set !== undefined) return set
  const file = join(config.dataDir, name)
  const kept = read(file)
  const value = await share(name, kept ?? randomBytes(24).toString('base64url'))
  if (value === kept) return secret(value)
  // Another token opens a door as well; numbers that were hashed under a key that is gone are lost.
  if (kept !== undefined && name === PHONE_KEY_FILE) throw new ConfigFault(OTHER_FILE(file))
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 })
  writeFileSync(file, `${value}\n`, { mode: 0o600 })
  return secret(value)
}

const OTHER_FILE = (file: string): string =>
  `The phone key in ${file} is not this deployment's: move it away if its accounts are elsewhere, or set PHONE_KEY.`
const OTHER_KEY =
  'PHONE_KEY is not the one that this deployment began with, and no account would be found by its number: set that one.'

/** Rejects with a ConfigFault when this broker would hash numbers under another key than the others. */
export async function secretsOf(config: Config, share: Share = alone): Promise<Secrets> {
  const phoneKey = await secretOf(config, PHONE_KEY_FILE, config.phoneKey, share)
  const print = createHash('sha256').update(phoneKey.reveal()).digest('base64url')
  if ((await share('phone-key-sha256', print)) !== print) throw new ConfigFault(OTHER_KEY)
  return {
    phoneKey,
    adminToken: await secretOf(config, ADMIN_TOKEN_FILE, config.adminToken, share),
    observerPassword: await secretOf(config, OBSERVER_PASSWORD_FILE, config.observerPassword, share),
  }
}
