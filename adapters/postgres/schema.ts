/**
 * The database: schema by version, and every statement that is prepared on a connection. Tables and columns are those
 * of the embedded profile, but for `user`, which is a word of SQL here.
 */

/**
 * Each entry brings a database from the version before it to its own. Never edit one that was released: add another.
 * Constraints have names, because a fault says which of them was broken (directory.ts).
 */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE users (
     user_id bytea NOT NULL, kind text NOT NULL, handle text, owner bytea, created_ms bigint NOT NULL,
     phone_hash bytea, identity_key bytea, erased_ms bigint NOT NULL DEFAULT 0,
     CONSTRAINT users_key PRIMARY KEY (user_id), CONSTRAINT users_handle UNIQUE (handle),
     CONSTRAINT users_phone UNIQUE (phone_hash));
   CREATE TABLE devices (
     id text NOT NULL, user_id bytea NOT NULL, number integer NOT NULL, registration_id integer NOT NULL,
     numbered boolean NOT NULL, token_hash bytea NOT NULL, created_ms bigint NOT NULL,
     revoked_ms bigint NOT NULL DEFAULT 0, name bytea, is_primary boolean NOT NULL DEFAULT false,
     CONSTRAINT devices_key PRIMARY KEY (id), CONSTRAINT devices_number UNIQUE (user_id, number),
     CONSTRAINT devices_user FOREIGN KEY (user_id) REFERENCES users (user_id));
   CREATE INDEX devices_token ON devices (token_hash);
   CREATE TABLE grants (owner bytea NOT NULL, peer bytea NOT NULL, CONSTRAINT grants_key PRIMARY KEY (owner, peer));
   CREATE INDEX grants_peer ON grants (peer);
   CREATE TABLE device_keys (
     device text NOT NULL, signed_id bigint NOT NULL, signed_key bytea NOT NULL, signed_signature bytea NOT NULL,
     last_id bigint NOT NULL, last_key bytea NOT NULL, last_signature bytea NOT NULL, changed_ms bigint NOT NULL,
     CONSTRAINT device_keys_key PRIMARY KEY (device));
   CREATE TABLE prekeys (
     device text NOT NULL, kind smallint NOT NULL, key_id bigint NOT NULL, key bytea NOT NULL, signature bytea,
     CONSTRAINT prekeys_key PRIMARY KEY (device, kind, key_id));`,
  `ALTER TABLE devices ADD COLUMN seen_ms bigint NOT NULL DEFAULT 0;`,
]

/** An account with its devices and grants as one row, so that reading one is one round trip. */
const ACCOUNT = `u.user_id, u.kind, u.handle, u.owner,
  (SELECT json_agg(json_build_array(o.id, o.number, o.registration_id, o.numbered) ORDER BY o.number)
    FROM devices o WHERE o.user_id = u.user_id AND o.revoked_ms = 0) AS devices,
  (SELECT array_agg(g.peer) FROM grants g WHERE g.owner = u.user_id AND u.kind <> 'thing') AS allowed`
/** All that a CONNECT needs, in one read. */
const LOGIN = `SELECT d.id AS device, d.token_hash, d.revoked_ms, ${ACCOUNT}
  FROM devices d JOIN users u ON u.user_id = d.user_id`
const PERSON = `SELECT u.user_id, u.handle, u.identity_key, d.id, d.number, d.registration_id, d.name, d.created_ms,
    d.is_primary, d.seen_ms
  FROM users u LEFT JOIN devices d ON d.user_id = u.user_id AND d.revoked_ms = 0`

/** Statements by name; each connection prepares one when it first runs it. */
export const STATEMENTS = {
  account: `SELECT ${ACCOUNT} FROM users u WHERE u.user_id = $1 AND u.erased_ms = 0`,
  accountByHandle: `SELECT ${ACCOUNT} FROM users u WHERE u.handle = $1`,
  accountOfDevice: `SELECT ${ACCOUNT} FROM users u
    WHERE u.user_id = (SELECT user_id FROM devices WHERE id = $1 AND revoked_ms = 0)`,
  login: `${LOGIN} WHERE d.id = $1`,
  // The same by the index of tokens: who can make this hash has the token.
  loginByToken: `${LOGIN} WHERE d.token_hash = $1 ORDER BY d.revoked_ms LIMIT 1`,
  person: `${PERSON} WHERE u.user_id = $1 AND u.erased_ms = 0 ORDER BY d.number`,
  personByPhone: `${PERSON} WHERE u.phone_hash = $1 ORDER BY d.number`,
  look: 'SELECT 1',
  countDevices: 'SELECT count(*) AS n FROM devices WHERE revoked_ms = 0',
  userOfDevice: 'SELECT user_id FROM devices WHERE id = $1',
  // Told when the transaction commits, to every process that listens, this one too.
  notify: 'SELECT pg_notify($1, $2)',
  insertUsers: `INSERT INTO users (user_id, kind, handle, owner, created_ms)
    SELECT v.*, $5 FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bytea[]) v`,
  insertDevices: `INSERT INTO devices (id, user_id, number, registration_id, numbered, token_hash, created_ms)
    SELECT v.*, $7 FROM unnest($1::text[], $2::bytea[], $3::int[], $4::int[], $5::boolean[], $6::bytea[]) v`,
  insertGrant: 'INSERT INTO grants (owner, peer) VALUES ($1, $2) ON CONFLICT DO NOTHING',
  insertPerson: `INSERT INTO users (user_id, kind, handle, owner, created_ms, phone_hash, identity_key)
    VALUES ($1, 'person', $2, NULL, $3, $4, $5)`,
  // Everything else that changes the account waits for whoever has its row.
  lockPerson: 'SELECT identity_key FROM users WHERE user_id = $1 AND erased_ms = 0 FOR UPDATE',
  // The number is NULL, which fails the transaction, when the account has as many devices as it may have, or had
  // number 127. Right under the lock of the account.
  insertPersonDevice: `INSERT INTO devices
    (user_id, id, registration_id, token_hash, created_ms, name, is_primary, numbered, number)
    VALUES ($1, $2, $3, $4, $5, $6, $7, false, CASE
      WHEN (SELECT count(*) FROM devices WHERE user_id = $1 AND revoked_ms = 0) < $8
      THEN nullif(1 + coalesce((SELECT max(number) FROM devices WHERE user_id = $1), 0), 128) END)
    RETURNING number`,
  setIdentity: 'UPDATE users SET identity_key = $1 WHERE user_id = $2',
  setHandle: 'UPDATE users SET handle = $1 WHERE user_id = $2',
  setDeviceName: 'UPDATE devices SET name = $1 WHERE id = $2 AND revoked_ms = 0',
  setDeviceToken: 'UPDATE devices SET token_hash = $1 WHERE id = $2 AND revoked_ms = 0',
  setDeviceSeen: 'UPDATE devices SET seen_ms = $1 WHERE id = $2 AND revoked_ms = 0 AND seen_ms < $1',
  // Ended devices keep their id and number, and nothing else that is theirs.
  endDevice:
    'UPDATE devices SET revoked_ms = $1, name = NULL, is_primary = false, seen_ms = 0 WHERE id = $2 AND revoked_ms = 0',
  endDevices: `UPDATE devices SET revoked_ms = $1, name = NULL, is_primary = false, seen_ms = 0
    WHERE user_id = $2 AND revoked_ms = 0 RETURNING id`,
  endPrimary: `UPDATE devices SET revoked_ms = $1, name = NULL, is_primary = false, seen_ms = 0
    WHERE user_id = $2 AND is_primary AND revoked_ms = 0 RETURNING id`,
  eraseUser: `UPDATE users SET erased_ms = $1, phone_hash = NULL, handle = NULL, identity_key = NULL
    WHERE user_id = $2 AND erased_ms = 0`,
  dropGrants: 'DELETE FROM grants WHERE owner = $1 OR peer = $1',
  // Keys of devices: key-rows.ts makes rows of an upload of them.
  putDeviceKeys: `INSERT INTO device_keys
    (device, signed_id, signed_key, signed_signature, last_id, last_key, last_signature, changed_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (device) DO UPDATE SET
      signed_id = excluded.signed_id, signed_key = excluded.signed_key, signed_signature = excluded.signed_signature,
      last_id = excluded.last_id, last_key = excluded.last_key, last_signature = excluded.last_signature,
      changed_ms = excluded.changed_ms`,
  setSignedPrekey: `UPDATE device_keys SET signed_id = $1, signed_key = $2, signed_signature = $3, changed_ms = $4
    WHERE device = $5`,
  setLastResortPrekey: `UPDATE device_keys SET last_id = $1, last_key = $2, last_signature = $3, changed_ms = $4
    WHERE device = $5`,
  dropDeviceKeys: 'DELETE FROM device_keys WHERE device = $1',
  insertPrekeys: `INSERT INTO prekeys (device, kind, key_id, key, signature)
    SELECT $1, $2, v.* FROM unnest($3::bigint[], $4::bytea[], $5::bytea[]) v`,
  dropPrekeys: 'DELETE FROM prekeys WHERE device = $1 AND kind = $2',
  dropAllPrekeys: 'DELETE FROM prekeys WHERE device = $1',
  dropKeysOfUser: 'DELETE FROM device_keys WHERE device IN (SELECT id FROM devices WHERE user_id = $1)',
  dropPrekeysOfUser: 'DELETE FROM prekeys WHERE device IN (SELECT id FROM devices WHERE user_id = $1)',
  countPrekeys: `SELECT count(*) FILTER (WHERE kind = 0) AS ec, count(*) FILTER (WHERE kind = 1) AS kem
    FROM prekeys WHERE device = $1`,
  repeated: `SELECT device, signed_id, signed_key, signed_signature, last_id, last_key, last_signature
    FROM device_keys WHERE device = ANY ($1)`,
  // One at a time for the keys of a device; in one order, so that two who want several of them never wait in a circle.
  lockKeys: `SELECT pg_advisory_xact_lock(locks.number)
    FROM (SELECT hashtextextended(id, 0) AS number FROM unnest($1::text[]) id ORDER BY 1) locks`,
  // A device that is not ended, and does not end before the transaction does.
  holdDevice: 'SELECT 1 FROM devices WHERE id = $1 AND revoked_ms = 0 FOR SHARE',
  // Takes the first `most` keys of each kind of each device. FOR UPDATE SKIP LOCKED, so that no row is given twice even
  // by whoever does not hold the device's lock; MATERIALIZED, so that the rows are chosen once. The counts are of
  // before.
  takePrekeys: `WITH wanted AS MATERIALIZED (
      SELECT w.device, w.most FROM unnest($1::text[], $2::int[]) w (device, most)
      JOIN device_keys k ON k.device = w.device),
    chosen AS MATERIALIZED (
      SELECT p.device, p.kind, p.key_id FROM wanted w CROSS JOIN (VALUES (0), (1)) kinds (kind) CROSS JOIN LATERAL (
        SELECT device, kind, key_id FROM prekeys WHERE device = w.device AND kind = kinds.kind
        ORDER BY key_id LIMIT w.most FOR UPDATE SKIP LOCKED) p),
    given AS (
      DELETE FROM prekeys p USING chosen c WHERE p.device = c.device AND p.kind = c.kind AND p.key_id = c.key_id
      RETURNING p.device, p.kind, p.key_id, p.key, p.signature),
    stock AS (
      SELECT device, kind, array_agg(key_id ORDER BY key_id) AS ids, array_agg(key ORDER BY key_id) AS keys,
        array_agg(signature ORDER BY key_id) AS signatures
      FROM given GROUP BY device, kind)
    SELECT k.device, k.signed_id, k.signed_key, k.signed_signature, k.last_id, k.last_key, k.last_signature,
      (SELECT count(*) FROM prekeys p WHERE p.device = k.device AND p.kind = 0) AS ec_count,
      (SELECT count(*) FROM prekeys p WHERE p.device = k.device AND p.kind = 1) AS kem_count,
      ec.ids AS ec_ids, ec.keys AS ec_keys, kem.ids AS kem_ids, kem.keys AS kem_keys, kem.signatures AS kem_signatures
    FROM wanted w JOIN device_keys k ON k.device = w.device
    LEFT JOIN stock ec ON ec.device = w.device AND ec.kind = 0
    LEFT JOIN stock kem ON kem.device = w.device AND kem.kind = 1`,
} as const
export type StatementName = keyof typeof STATEMENTS
