/**
 * What a device is told when a request is refused, and whether to try again. A number is never used twice: a code
 * that is retired stays in `retiredNumbers`. An old client judges a number it does not know by `retry`.
 */

/** Never: tell the user. */
export const RETRY_NEVER = 0
/** Repair what the error's lists or `last_stamp` say, encrypt again, new stamp, same Content.id. */
export const RETRY_REPAIR = 1
/** The same bodies with a new stamp after `retry_in_s`. */
export const RETRY_LATER = 2
export type Retry = typeof RETRY_NEVER | typeof RETRY_REPAIR | typeof RETRY_LATER

export interface ErrorRow {
  /** Error.code on the wire. */
  readonly number: number
  readonly retry: Retry
  /** Status of the same refusal over HTTP. */
  readonly http: number
  /** What it means and what to do. */
  readonly about: string
}

function row(number: number, retry: Retry, http: number, about: string): ErrorRow {
  return { number, retry, http, about }
}

/** The catalogue: name → row. Names are metric labels and the last level of `d/<device>/from/error/<code>`. */
export const errors = {
  // 1..19 the request as bytes
  malformed: row(1, RETRY_NEVER, 400, 'The bytes are not a SendRequest as wire.proto has it; mend the sender.'),
  unknown_field: row(
    2,
    RETRY_NEVER,
    400,
    'A field that this server does not know; send only what CaughtUp.wire allows.',
  ),
  too_large: row(3, RETRY_NEVER, 413, 'More bytes or entries than the limits allow; send less, or upload it as media.'),
  unsupported: row(4, RETRY_NEVER, 501, 'This server does not do that yet; do without.'),
  empty_body: row(5, RETRY_NEVER, 400, 'A device is named without a body; encrypt for it or leave it out.'),
  // 20..39 the recipient
  not_allowed: row(20, RETRY_NEVER, 403, 'The sender may not do this, or not to this recipient; ask its owner.'),
  unknown_recipient: row(21, RETRY_NEVER, 404, 'No such user, group or device; look it up again.'),
  devices_stale: row(
    22,
    RETRY_REPAIR,
    409,
    'The devices named are not those of the user: drop `extra`, start new sessions with `stale`, add `missing`.',
  ),
  undeliverable: row(23, RETRY_NEVER, 507, 'Every inbox of the recipient is full; it has been away for too long.'),
  raw_not_allowed: row(24, RETRY_NEVER, 403, 'Raw bytes need a thing or service on one side; encrypt instead.'),
  peer_not_a_person: row(25, RETRY_NEVER, 409, 'Encrypted bodies need a person on the other side; send raw.'),
  recipient_invalid: row(
    26,
    RETRY_NEVER,
    400,
    'A recipient is home, @handle, d-device, u-user or g-group; user and group have 26 characters of base32.',
  ),
  // 40..59 the order
  stamp_behind: row(
    40,
    RETRY_REPAIR,
    409,
    'The stamp is not above last_stamp; ignore it if that stamp is resolved, else go on above last_stamp.',
  ),
  seq_ahead: row(41, RETRY_NEVER, 400, 'The after_seq is ahead of the server; send the highest seq that was received.'),
  number_invalid: row(
    42,
    RETRY_NEVER,
    400,
    'The number in the topic is not a decimal of 1 to 2^53 - 1 without zeros in front.',
  ),
  // 60..79 the server is busy or ill
  overloaded: row(60, RETRY_LATER, 503, 'The server has more work than it can hold; wait and send again.'),
  storage_unavailable: row(61, RETRY_LATER, 503, 'The store does not answer; wait and send again.'),
  disk_full: row(62, RETRY_LATER, 507, 'The disk of the server is full; its operator has to free space.'),
  corrupt_store: row(
    63,
    RETRY_LATER,
    503,
    'The store is damaged and takes nothing new; its operator has to restore it.',
  ),
  records_full: row(
    64,
    RETRY_LATER,
    429,
    'Too many requests wait for the acknowledgement of `accepted`; acknowledge them.',
  ),
  rate_limited: row(65, RETRY_LATER, 429, 'Too many requests in a short time; wait and send again.'),
  shutting_down: row(66, RETRY_LATER, 503, 'The server is stopping; connect again and resend.'),
  dead_letter: row(
    67,
    RETRY_NEVER,
    500,
    'It was accepted and then could not be put into an inbox: the only error behind `accepted`. Its operator has it.',
  ),
  // 80..99 who is asking
  unauthorized: row(80, RETRY_NEVER, 401, 'No such device, or a wrong token; register again.'),
  revoked: row(81, RETRY_NEVER, 401, 'The device was revoked; its owner has to provision it again.'),
  code_wrong: row(82, RETRY_NEVER, 401, 'The code is wrong, used, or older than ten minutes; ask for another one.'),
  link_expired: row(83, RETRY_NEVER, 401, 'The link is used or too old; begin linking again.'),
  not_primary: row(84, RETRY_NEVER, 403, 'Only the primary device of the account may do this; do it there.'),
  // 100..119 the HTTP API
  conflict: row(100, RETRY_NEVER, 409, 'The id or handle is taken; choose another.'),
  phone_invalid: row(
    101,
    RETRY_NEVER,
    400,
    'That is no phone number with its country code; write it like +4915112345678.',
  ),
  idempotency_reused: row(102, RETRY_NEVER, 422, 'That Idempotency-Key belongs to another request; make a new one.'),
  in_progress: row(103, RETRY_LATER, 409, 'The same request is being worked on; ask again for its answer.'),
  // 120..139 keys
  signature_wrong: row(120, RETRY_NEVER, 422, 'A prekey is not signed by the identity key; sign and upload it again.'),
  key_invalid: row(
    121,
    RETRY_NEVER,
    422,
    'A key has the wrong length, type or point, or an id is there twice; make new keys.',
  ),
  keys_differ: row(
    122,
    RETRY_NEVER,
    409,
    'The server has other keys of this device than the device; upload them again.',
  ),
  identity_differs: row(
    123,
    RETRY_NEVER,
    409,
    'A linked device has to have the identity key of the account; link it again.',
  ),
  devices_full: row(124, RETRY_NEVER, 409, 'The account has as many devices as it may have; remove one first.'),
} as const satisfies Record<string, ErrorRow>

/** Name of an error. */
export type ErrorCode = keyof typeof errors

/** Numbers that meant something once and will not mean anything else. */
export const retiredNumbers: readonly number[] = []

const codeByNumber = new Map<number, ErrorCode>(
  (Object.keys(errors) as ErrorCode[]).map((code) => [errors[code].number, code]),
)

export function errorOf(code: ErrorCode): ErrorRow {
  return errors[code]
}

/** The name of a number from the wire; undefined when it is not known here. */
export function errorCodeOf(number: number): ErrorCode | undefined {
  return codeByNumber.get(number)
}

export function isErrorCode(name: string): name is ErrorCode {
  return Object.hasOwn(errors, name)
}
