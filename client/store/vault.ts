/**
 * Secrets at rest. A random data key seals every secret value (AES-256-GCM, random nonce, the value's label as
 * associated data, so that a value cannot be moved to another place). The data key itself is sealed under a passphrase
 * (scrypt, RFC 7914) or a key file, so that either can be changed without writing everything anew.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
  randomFillSync,
  scryptSync,
} from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { ClientFault } from '../faults.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const SALT_BYTES = 16
/** 32 MiB and some 80 ms: what RFC 7914 and OWASP have for interactive use, N = 2^15, r = 8, p = 1. */
const SCRYPT = { N: 32_768, r: 8, p: 1, maxmem: 64 * 1024 * 1024 }
const DATA_KEY_LABEL = 'data key'

/** What opens a database: a passphrase, or a file with 32 random bytes, made when it is not there. */
export type Unlock = { readonly passphrase: string } | { readonly keyFile: string }

export interface Vault {
  /** nonce, ciphertext, tag: 28 bytes more than `value`. */
  seal(label: string, value: Uint8Array): Buffer
  /** Throws a ClientFault `corrupt` when the bytes were changed or stand under another label. */
  open(label: string, sealed: Uint8Array): Buffer
}

/** Random bytes are asked for in bulk: each asking is a system call. */
const nonces = Buffer.alloc(NONCE_BYTES * 256)
let noncesUsed = nonces.length

/** Given once. The bytes are those of the pool: `seal` copies them into what it gives. */
function nextNonce(): Buffer {
  if (noncesUsed === nonces.length) {
    randomFillSync(nonces)
    noncesUsed = 0
  }
  noncesUsed += NONCE_BYTES
  return nonces.subarray(noncesUsed - NONCE_BYTES, noncesUsed)
}

function seal(key: Uint8Array | KeyObject, label: string, value: Uint8Array): Buffer {
  const nonce = nextNonce()
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.from(label))
  const first = cipher.update(value)
  cipher.final()
  return Buffer.concat([nonce, first, cipher.getAuthTag()])
}

function open(key: Uint8Array | KeyObject, label: string, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES))
  decipher.setAAD(Buffer.from(label))
  decipher.setAuthTag(sealed.subarray(end))
  const value = decipher.update(sealed.subarray(NONCE_BYTES, end))
  try {
    decipher.final()
    return value
  } catch {
    return undefined
  }
}

/** The disk is full: half a key would open nothing, and stand in the way of the next try. */
function withoutHalf(path: string, error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ENOSPC') return error
  rmSync(path, { force: true })
  return new ClientFault('disk_full', `The key file ${path} cannot be written; free some space.`)
}

function fileKey(path: string, isNew: boolean): Buffer {
  // `wx`: a key that is there is never written over.
  if (isNew) {
    try {
      // Synced: the database is, and is worth nothing without it.
      writeFileSync(path, randomBytes(KEY_BYTES), { mode: 0o600, flag: 'wx', flush: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw withoutHalf(path, error as NodeJS.ErrnoException)
    }
  }
  let key: Buffer
  try {
    key = readFileSync(path)
  } catch {
    throw new ClientFault(
      'wrong_passphrase',
      `The key file ${path} cannot be read; put it back, or use another folder.`,
    )
  }
  if (key.length !== KEY_BYTES)
    throw new ClientFault('wrong_passphrase', `${path} is no key file: it has to have 32 bytes.`)
  return key
}

function wrappingKey(unlock: Unlock, salt: Uint8Array, isNew: boolean): Buffer {
  if ('keyFile' in unlock) return fileKey(unlock.keyFile, isNew)
  return scryptSync(unlock.passphrase.normalize('NFC'), salt, KEY_BYTES, SCRYPT)
}

function vaultOf(bytes: Uint8Array): Vault {
  // Raw bytes would be examined at every call: a tenth of the work of sending.
  const key = createSecretKey(bytes)
  return {
    seal: (label, value) => seal(key, label, value),
    open(label, sealed) {
      const value = open(key, label, sealed)
      if (value === undefined) throw new ClientFault('corrupt', `The client's database is damaged at: ${label}.`)
      return value
    },
  }
}

/** A new vault and what to keep of it: salt and sealed data key. */
export function newVault(unlock: Unlock): { vault: Vault; kept: Buffer } {
  const salt = randomBytes(SALT_BYTES)
  const key = randomBytes(KEY_BYTES)
  return {
    vault: vaultOf(key),
    kept: Buffer.concat([salt, seal(wrappingKey(unlock, salt, true), DATA_KEY_LABEL, key)]),
  }
}

/** Opens what `newVault` kept. Throws a ClientFault `wrong_passphrase`. */
export function openVault(unlock: Unlock, kept: Uint8Array): Vault {
  const key = open(wrappingKey(unlock, kept.subarray(0, SALT_BYTES), false), DATA_KEY_LABEL, kept.subarray(SALT_BYTES))
  if (key === undefined) {
    const what = 'keyFile' in unlock ? 'The key file does not fit this database.' : 'The passphrase is wrong.'
    throw new ClientFault('wrong_passphrase', what)
  }
  return vaultOf(key)
}
