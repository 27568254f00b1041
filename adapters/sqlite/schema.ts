/**
 * The database: schema by version, pragmas, and every statement that the writer thread runs.
 *
 * `tail` is the journal: one row per commit and arena, append-ordered, the only table that is replayed at start (C1).
 * `settled` holds inbox rows that outlived the tail, keyed by device and position. `records` are request records that
 * did. `inboxes` is what a device's inbox knows besides rows. `users`, `devices`, `grants` are the directory.
 */
import type { SQLInputValue } from 'node:sqlite'

/**
 * Each entry brings a database from the version before it to its own. Never edit one that was released: add another.
 */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE tail (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, entry BLOB NOT NULL) STRICT;
   CREATE TABLE settled (
     device TEXT NOT NULL, seq INTEGER NOT NULL, sub INTEGER NOT NULL, kind INTEGER NOT NULL,
     peer TEXT NOT NULL, expires_ms INTEGER NOT NULL, body BLOB NOT NULL,
     PRIMARY KEY (device, seq, sub)) STRICT, WITHOUT ROWID;
   CREATE TABLE records (
     device TEXT NOT NULL, stamp INTEGER NOT NULL, hash INTEGER NOT NULL, seq INTEGER NOT NULL, peer TEXT NOT NULL,
     PRIMARY KEY (device, stamp)) STRICT, WITHOUT ROWID;
   CREATE TABLE inboxes (
     device TEXT PRIMARY KEY, last_stamp INTEGER NOT NULL, slot INTEGER NOT NULL, subscribed INTEGER NOT NULL,
     open INTEGER NOT NULL, sent_seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE marks (
     by_user TEXT NOT NULL, peer TEXT NOT NULL, up_to INTEGER NOT NULL,
     PRIMARY KEY (by_user, peer)) STRICT, WITHOUT ROWID;
   CREATE TABLE users (
     user BLOB PRIMARY KEY, kind TEXT NOT NULL, handle TEXT UNIQUE, owner BLOB, created_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE devices (
     id TEXT PRIMARY KEY, user BLOB NOT NULL REFERENCES users (user), number INTEGER NOT NULL,
     registration_id INTEGER NOT NULL, numbered INTEGER NOT NULL, token_hash BLOB NOT NULL,
     created_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL DEFAULT 0,
     UNIQUE (user, number)) STRICT, WITHOUT ROWID;
   CREATE TABLE grants (owner BLOB NOT NULL, peer BLOB NOT NULL, PRIMARY KEY (owner, peer)) STRICT, WITHOUT ROWID;`,
  // Persons: identity keys, prekeys, names. A phone number is kept as its HMAC only.
  `ALTER TABLE users ADD COLUMN phone_hash BLOB;
   ALTER TABLE users ADD COLUMN identity_key BLOB;
   ALTER TABLE users ADD COLUMN erased_ms INTEGER NOT NULL DEFAULT 0;
   CREATE UNIQUE INDEX users_phone ON users (phone_hash) WHERE phone_hash IS NOT NULL;
   ALTER TABLE devices ADD COLUMN name BLOB;
   ALTER TABLE devices ADD COLUMN is_primary INTEGER NOT NULL DEFAULT 0;
   CREATE INDEX devices_token ON devices (token_hash);
   CREATE TABLE device_keys (
     device TEXT PRIMARY KEY, signed_id INTEGER NOT NULL, signed_key BLOB NOT NULL, signed_signature BLOB NOT NULL,
     last_id INTEGER NOT NULL, last_key BLOB NOT NULL, last_signature BLOB NOT NULL, changed_ms INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE prekeys (
     device TEXT NOT NULL, kind INTEGER NOT NULL, key_id INTEGER NOT NULL, key BLOB NOT NULL, signature BLOB,
     PRIMARY KEY (device, kind, key_id)) STRICT, WITHOUT ROWID;`,
  'ALTER TABLE devices ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;',
]

export const PRAGMAS = `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
  PRAGMA wal_autocheckpoint = 0; PRAGMA busy_timeout = 2000; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;`

/** Statements of the writer thread by name. */
export const STATEMENTS = {
  insertEntry: 'INSERT INTO tail (id, crc, entry) VALUES (?, ?, ?)',
  deleteEntries: 'DELETE FROM tail WHERE id <= ?',
  putMeta: 'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
  addMeta:
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value',
  insertSettled:
    'INSERT OR REPLACE INTO settled (device, seq, sub, kind, peer, expires_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?)',
  deleteSettled: 'DELETE FROM settled WHERE device = ? AND seq = ? AND sub = ?',
  dropSettled: 'DELETE FROM settled WHERE device = ?',
  insertRecord: 'INSERT OR REPLACE INTO records (device, stamp, hash, seq, peer) VALUES (?, ?, ?, ?, ?)',
  deleteRecord: 'DELETE FROM records WHERE device = ? AND stamp = ?',
  dropRecords: 'DELETE FROM records WHERE device = ?',
  putInbox: `INSERT INTO inboxes (device, last_stamp, slot, subscribed, open, sent_seq) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (device) DO UPDATE SET last_stamp = max(last_stamp, excluded.last_stamp), slot = excluded.slot,
      subscribed = excluded.subscribed, open = excluded.open, sent_seq = excluded.sent_seq`,
  putMark: `INSERT INTO marks (by_user, peer, up_to) VALUES (?, ?, ?)
    ON CONFLICT (by_user, peer) DO UPDATE SET up_to = max(up_to, excluded.up_to)`,
  insertUser: 'INSERT INTO users (user, kind, handle, owner, created_ms) VALUES (?, ?, ?, ?, ?)',
  insertDevice: `INSERT INTO devices (id, user, number, registration_id, numbered, token_hash, created_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?)`,
  insertPerson: `INSERT INTO users (user, kind, handle, owner, created_ms, phone_hash, identity_key)
    VALUES (?, 'person', ?, NULL, ?, ?, ?)`,
  // The number is NULL, which fails the transaction, when the account is gone, has another identity key, as many
  // devices as it may have, or had number 127.
  insertPersonDevice: `INSERT INTO devices
    (id, registration_id, token_hash, created_ms, name, is_primary, numbered, user, number)
    SELECT fresh.*, 0, u.user, CASE
      WHEN u.identity_key = ? AND (SELECT count(*) FROM devices WHERE user = u.user AND revoked_ms = 0) < ?
      THEN nullif(1 + coalesce((SELECT max(number) FROM devices WHERE user = u.user), 0), 128) END
    FROM (SELECT ?, ?, ?, ?, ?, ?) fresh LEFT JOIN users u ON u.user = ?`,
  // Not of an account that was erased: who begins it anew at that moment fails, as its new device has no number.
  setIdentity: 'UPDATE users SET identity_key = ? WHERE user = ? AND erased_ms = 0',
  setHandle: 'UPDATE users SET handle = ? WHERE user = ?',
  setDeviceName: 'UPDATE devices SET name = ? WHERE id = ? AND revoked_ms = 0',
  setDeviceToken: 'UPDATE devices SET token_hash = ? WHERE id = ? AND revoked_ms = 0',
  setDeviceSeen: 'UPDATE devices SET seen_ms = max(seen_ms, ?) WHERE id = ? AND revoked_ms = 0',
  // Ended devices keep their id and number, and nothing else that is theirs.
  endDevice:
    'UPDATE devices SET revoked_ms = ?, name = NULL, is_primary = 0, seen_ms = 0 WHERE id = ? AND revoked_ms = 0',
  endDevices:
    'UPDATE devices SET revoked_ms = ?, name = NULL, is_primary = 0, seen_ms = 0 WHERE user = ? AND revoked_ms = 0',
  endPrimary: `UPDATE devices SET revoked_ms = ?, name = NULL, is_primary = 0, seen_ms = 0
    WHERE user = ? AND is_primary = 1 AND revoked_ms = 0`,
  eraseUser: `UPDATE users SET erased_ms = ?, phone_hash = NULL, handle = NULL, identity_key = NULL
    WHERE user = ? AND erased_ms = 0`,
  dropGrants: 'DELETE FROM grants WHERE owner = ? OR peer = ?',
  // Keys of devices: key-statements.ts makes rows of an upload of them.
  putDeviceKeys: `INSERT INTO device_keys
    (device, signed_id, signed_key, signed_signature, last_id, last_key, last_signature, changed_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device) DO UPDATE SET
      signed_id = excluded.signed_id, signed_key = excluded.signed_key, signed_signature = excluded.signed_signature,
      last_id = excluded.last_id, last_key = excluded.last_key, last_signature = excluded.last_signature,
      changed_ms = excluded.changed_ms`,
  setSignedPrekey: `UPDATE device_keys SET signed_id = ?, signed_key = ?, signed_signature = ?, changed_ms = ?
    WHERE device = ?`,
  setLastResortPrekey: `UPDATE device_keys SET last_id = ?, last_key = ?, last_signature = ?, changed_ms = ?
    WHERE device = ?`,
  dropDeviceKeys: 'DELETE FROM device_keys WHERE device = ?',
  insertPrekey: 'INSERT INTO prekeys (device, kind, key_id, key, signature) VALUES (?, ?, ?, ?, ?)',
  dropPrekeys: 'DELETE FROM prekeys WHERE device = ? AND kind = ?',
  dropAllPrekeys: 'DELETE FROM prekeys WHERE device = ?',
  dropKeysOfUser: 'DELETE FROM device_keys WHERE device IN (SELECT id FROM devices WHERE user = ?)',
  dropPrekeysOfUser: 'DELETE FROM prekeys WHERE device IN (SELECT id FROM devices WHERE user = ?)',
  dropKeysOfPrimary:
    'DELETE FROM device_keys WHERE device IN (SELECT id FROM devices WHERE user = ? AND is_primary = 1)',
  dropPrekeysOfPrimary:
    'DELETE FROM prekeys WHERE device IN (SELECT id FROM devices WHERE user = ? AND is_primary = 1)',
  // Given to somebody.
  deletePrekey: 'DELETE FROM prekeys WHERE device = ? AND kind = ? AND key_id = ?',
  // Who uploads while its device ends leaves nothing behind either.
  dropEndedKeys: `DELETE FROM device_keys WHERE device = ?
    AND NOT EXISTS (SELECT 1 FROM devices WHERE id = device AND revoked_ms = 0)`,
  dropEndedPrekeys: `DELETE FROM prekeys WHERE device = ?
    AND NOT EXISTS (SELECT 1 FROM devices WHERE id = device AND revoked_ms = 0)`,
  insertGrant: 'INSERT OR IGNORE INTO grants (owner, peer) VALUES (?, ?)',
} as const
export type StatementName = keyof typeof STATEMENTS
/** A statement with its values. */
export type Statement = [StatementName, ...SQLInputValue[]]
