/**
 * The client's database by version. What is secret (private keys, sessions, contents, the account) is sealed by the
 * vault before it gets here; users, seqs and stamps are plain, since the queries need them.
 *
 * `messages` has one row for each content that is shown; its place in the conversation is (place, stamp). `outbox` has
 * the row of the message it sends, or the content itself when it is shown nowhere, and lives on as the log of what was
 * sent. `unreadable` has what could not be decrypted and was asked for again, `handled` the seqs of deliveries that
 * left no message. `conversations` has the marks of both sides.
 */

/** Each entry brings a database from the version before it to its own. Never edit one that was released. */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE identities (
     user TEXT PRIMARY KEY, key BLOB NOT NULL, approved INTEGER NOT NULL, verified INTEGER NOT NULL,
     changed_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE sessions (
     user TEXT NOT NULL, device INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (user, device)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE prekeys (
     kind INTEGER NOT NULL, id INTEGER NOT NULL, made_ms INTEGER NOT NULL, replaced_ms INTEGER NOT NULL,
     sealed BLOB NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;
   CREATE TABLE base_keys (
     kem_id INTEGER NOT NULL, signed_id INTEGER NOT NULL, base_key BLOB NOT NULL,
     PRIMARY KEY (kem_id, signed_id, base_key)) STRICT, WITHOUT ROWID;
   CREATE TABLE peers (user TEXT PRIMARY KEY, handle TEXT, devices TEXT NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE messages (
     row INTEGER PRIMARY KEY, peer TEXT NOT NULL, author TEXT NOT NULL, device INTEGER NOT NULL, id BLOB NOT NULL,
     seq INTEGER NOT NULL, place INTEGER NOT NULL, stamp INTEGER NOT NULL, shown INTEGER NOT NULL,
     failed TEXT NOT NULL, sent_ms INTEGER NOT NULL, sealed BLOB NOT NULL, UNIQUE (author, id)) STRICT;
   CREATE INDEX messages_place ON messages (peer, place, stamp);
   CREATE INDEX messages_seq ON messages (peer, seq);
   CREATE TABLE outbox (
     row INTEGER PRIMARY KEY, peer TEXT NOT NULL, state INTEGER NOT NULL, stamp INTEGER NOT NULL, seq INTEGER NOT NULL,
     scope INTEGER NOT NULL, only_user TEXT NOT NULL, only_device INTEGER NOT NULL, devices TEXT NOT NULL,
     rounds INTEGER NOT NULL, resends INTEGER NOT NULL, due_ms INTEGER NOT NULL, made_ms INTEGER NOT NULL,
     plaintext BLOB, content BLOB, request BLOB) STRICT;
   CREATE INDEX outbox_waiting ON outbox (state, row) WHERE state < 2;
   CREATE INDEX outbox_stamp ON outbox (stamp) WHERE stamp > 0;
   CREATE INDEX outbox_seq ON outbox (seq) WHERE seq > 0;
   CREATE TABLE unreadable (
     peer TEXT NOT NULL, seq INTEGER NOT NULL, author TEXT NOT NULL, device INTEGER NOT NULL, tries INTEGER NOT NULL,
     due_ms INTEGER NOT NULL, request BLOB NOT NULL, PRIMARY KEY (peer, seq)) STRICT, WITHOUT ROWID;
   CREATE TABLE handled (peer TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (peer, seq)) STRICT, WITHOUT ROWID;
   CREATE TABLE conversations (
     peer TEXT PRIMARY KEY, highest INTEGER NOT NULL, delivered INTEGER NOT NULL, read INTEGER NOT NULL,
     own_read INTEGER NOT NULL, told_read INTEGER NOT NULL) STRICT, WITHOUT ROWID;`,
]

export const PRAGMAS = `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000;
  PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON; PRAGMA cache_size = -8192;`
