/**
 * Who sends what to whom: logins, subscriptions, and one ready-made PUBLISH frame per pair. Everything that needs
 * encoding happens here, before the load; the hot loop only patches packet id, mark and stamp.
 */
import { randomBytes } from 'node:crypto'
import { type Login, publishTemplate } from './frames.ts'

export type Path = 'raw' | 'send-request'

export const RAW_BYTES = 100

export type PairPlan = {
  /** Index of the device that gets this pair's messages; pair i is sent by `senders[i]`. */
  recipient: number
  /** A whole PUBLISH frame; the offsets of what is patched count from its first byte. */
  frame: Buffer
  packetIdAt: number
  markAt: number
  /** 0: no stamp. */
  stampAt: number
}

/** A client: how it logs in and what it subscribes to. */
export type Member = { login: Login; filter: string | undefined }

export type Fleet = {
  path: Path
  senders: Member[]
  recipients: Member[]
  pairs: PairPlan[]
}

/** Number of pairs and of recipient devices; pair p sends to recipient p modulo recipients. */
export type Shape = { pairs: number; recipients: number }

/** One provisioned device, as one line of `npm run provision` tells it. */
export type Account = {
  device: string
  /** UUID of the user, as text. */
  user: string
  token: string
  /** A person's device number and registration id; 0 for things. */
  number: number
  registrationId: number
}

const numbered = (series: string, i: number): string => `${series}${String(i).padStart(6, '0')}`
const downTopic = (to: string, from: string): string => `d/${to}/from/d-${from}/direct`

/**
 * For a broker that admits anybody and routes any topic: sender and recipient share the recipient's topic. Two fleets
 * on one broker take different series, or they would take over each other's sessions.
 */
export function plainFleet(shape: Shape, series: number, login: (clientId: string) => Login = anybody): Fleet {
  const { pairs, recipients } = shape
  const sender = (i: number): string => numbered(`a${series}`, i)
  // A literal filter where one pair at most sends to a device: no broker is charged for a wildcard it need not match.
  const from = (i: number): string => (pairs <= recipients ? `d-${sender(i)}` : '+')
  const id = (i: number): string => numbered(`b${series}`, i)
  return {
    path: 'raw',
    senders: listOf(pairs, (i) => ({ login: login(sender(i)), filter: undefined })),
    recipients: listOf(recipients, (i) => ({ login: login(id(i)), filter: `d/${id(i)}/from/${from(i)}/direct` })),
    pairs: listOf(pairs, (i) => rawPair(i % recipients, downTopic(id(i % recipients), sender(i)))),
  }
}

/** Things of one owner: raw bytes up `d/<a>/raw/d-<b>`, down `d/<b>/from/d-<a>/direct`. */
export function thingFleet(shape: Shape, accounts: readonly Account[]): Fleet {
  const sending = accounts.slice(0, shape.pairs)
  const receiving = accounts.slice(shape.pairs, shape.pairs + shape.recipients)
  requireAccounts(shape, accounts)
  return {
    path: 'raw',
    senders: sending.map((account) => ({ login: loginOf(account), filter: undefined })),
    recipients: receiving.map((account) => ({ login: loginOf(account), filter: `d/${account.device}/from/#` })),
    pairs: sending.map((account, i) => {
      const to = i % shape.recipients
      return rawPair(to, `d/${account.device}/raw/d-${(receiving[to] as Account).device}`)
    }),
  }
}

/** Throws when fewer accounts were provisioned than the shape needs. */
export function requireAccounts(shape: Shape, accounts: readonly Account[]): void {
  const needed = shape.pairs + shape.recipients
  if (accounts.length < needed) throw new Error(`${needed} accounts are needed and ${accounts.length} were provisioned`)
}

function listOf<T>(count: number, item: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => item(i))
}

/** A login without user name and password. */
export function anybody(clientId: string): Login {
  return { clientId, user: undefined, password: undefined }
}

export function loginOf(account: Account): Login {
  return { clientId: account.device, user: account.device, password: account.token }
}

function rawPair(recipient: number, topic: string): PairPlan {
  const { frame, packetIdAt, payloadAt } = publishTemplate(topic, randomBytes(RAW_BYTES))
  return { recipient, frame, packetIdAt, markAt: payloadAt, stampAt: 0 }
}
