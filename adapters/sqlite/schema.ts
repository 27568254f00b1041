/**
 * The database: schema by version, pragmas, and every statement that the writer thread runs.
 *
 * `tail` is the journal: one row per commit and arena, append-ordered, the only table that is replayed at start (C1).
 * `settled` holds inbox rows that outlived the tail, keyed by device and position. `records` are request records that
 * did. `inboxes` is what a device's inbox knows besides rows. `users`, `devices`, `grants` are the directory.
 */

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
  revokeDevice: 'UPDATE devices SET revoked_ms = ? WHERE id = ? AND revoked_ms = 0',
  insertGrant: 'INSERT OR IGNORE INTO grants (owner, peer) VALUES (?, ?)',
} as const
export type StatementName = keyof typeof STATEMENTS
