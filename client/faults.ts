/**
 * What the SDK tells its user when something cannot be done, and what to do about it. Codes do not change their
 * meaning. What a server answers arrives here as one of these too: `clientCodeOf`.
 */
import { type ErrorCode, errorOf, RETRY_LATER } from '../topics/errors.ts'

interface ClientErrorRow {
  /** later: the same call may work after a while. never: something has to change first. */
  readonly retry: 'later' | 'never'
  /** What it means and what to do. */
  readonly about: string
}

function row(retry: ClientErrorRow['retry'], about: string): ClientErrorRow {
  return { retry, about }
}

/** The catalogue: name → row. */
export const clientErrors = {
  // The database of the client.
  locked: row('never', 'Another process uses this database; end it, or use another folder.'),
  wrong_passphrase: row('never', 'The passphrase or key file does not open this database; try another one.'),
  disk_full: row('later', 'Nothing can be written to the disk; free some space. Nothing is lost.'),
  corrupt: row('never', 'The database of the client is damaged; move it away and link this device again.'),
  newer_database: row('never', 'A newer version wrote this database; update the program.'),
  restored: row('later', 'This database is an older copy of itself; sessions and keys were made anew.'),
  closed: row('never', 'The client was closed; open it again.'),

  // The way to the server.
  unreachable: row('later', 'The server cannot be reached; look at the network and the address. It is tried again.'),
  bad_answer: row('later', 'The server answered what no server of this version does; look at the address, or update.'),
  server_busy: row('later', 'The server cannot do that now; try again later.'),
  rate_limited: row('later', 'That was asked too often in a short time; wait, then try again.'),
  clock: row('never', 'The clock of this device is wrong; set it, then try again.'),

  // Who one is.
  not_registered: row('never', 'This client has no account; register or link it first.'),
  already_registered: row('never', 'This client has an account; use another folder for another one.'),
  unauthorized: row(
    'never',
    'The server does not know this device or its token; register or link it again, in another folder.',
  ),
  revoked: row('never', 'This device was removed from its account; register or link it again, in another folder.'),
  taken_over: row('later', 'Another program uses the account of this device; end one of the two.'),
  phone_invalid: row('never', 'That is no phone number with its country code; write it like +4915112345678.'),
  code_wrong: row('never', 'The code is wrong, used or too old; ask for another one.'),
  handle_taken: row('never', 'That handle is taken; choose another.'),
  link_expired: row('never', 'The link is used or too old; begin linking again.'),
  not_primary: row('never', 'Only the primary device of the account may do this; do it there.'),
  devices_full: row('never', 'The account has as many devices as it may have; remove one first.'),
  keys_refused: row('never', 'The server does not take the keys of this device; link it again.'),

  // With whom one talks, and what one says.
  unknown_peer: row('never', 'There is no such user; look at the handle or id.'),
  identity_changed: row('never', 'The identity of this user has changed; compare safety numbers, then approve it.'),
  undeliverable: row('never', 'The user has been away for so long that nothing more can be kept for them.'),
  expired: row('never', 'The message was not fetched in time; send it again if it still matters.'),
  undecryptable: row('never', 'A message cannot be decrypted; its sender is asked to send it again.'),
  newer_content: row('never', 'This message needs a newer version to be shown; update the program.'),
  too_large: row('never', 'That is more than one message can carry; send less.'),
  invalid: row('never', 'An argument is not what this function takes; look at its documentation.'),
  outbox_full: row('later', 'Too many messages wait to be sent; wait until some are.'),
  refused: row('never', 'The server refused that; its sentence says why.'),
} as const satisfies Record<string, ClientErrorRow>

export type ClientErrorCode = keyof typeof clientErrors

/** Thrown by the SDK. The message is for people: what it means and what to do. */
export class ClientFault extends Error {
  readonly code: ClientErrorCode
  /** When asking again can work, if the server said so. */
  readonly retryInS: number | undefined
  constructor(code: ClientErrorCode, message: string = clientErrors[code].about, retryInS?: number) {
    super(message)
    this.name = 'ClientFault'
    this.code = code
    this.retryInS = retryInS
  }
}

const byServer: Partial<Record<ErrorCode, ClientErrorCode>> = {
  too_large: 'too_large',
  unknown_recipient: 'unknown_peer',
  undeliverable: 'undeliverable',
  rate_limited: 'rate_limited',
  records_full: 'rate_limited',
  unauthorized: 'unauthorized',
  revoked: 'revoked',
  code_wrong: 'code_wrong',
  link_expired: 'link_expired',
  not_primary: 'not_primary',
  phone_invalid: 'phone_invalid',
  conflict: 'handle_taken',
  signature_wrong: 'keys_refused',
  key_invalid: 'keys_refused',
  identity_differs: 'keys_refused',
  devices_full: 'devices_full',
}

/** What the refusal of a server is to the user of the client. Its disk is not the client's. */
export function clientCodeOf(code: ErrorCode): ClientErrorCode {
  return byServer[code] ?? (errorOf(code).retry === RETRY_LATER ? 'server_busy' : 'refused')
}
