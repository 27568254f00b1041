/**
 * Linking: the new device shows a one-time public key, the primary device seals the account's identity for it (HPKE,
 * RFC 9180, as libsignal has it). Who relays it sees neither.
 */
import { randomBytes } from 'node:crypto'
import { IdentityKeyPair, PrivateKey, PublicKey } from '@signalapp/libsignal-client'
import { ClientFault } from '../faults.ts'

const INFO = 'heliograph:link:v1'
const SCHEME = 'heliograph-link:'
const NONCE_BYTES = 16
const KEY_BYTES = 33

/** What the new device keeps until it is linked. */
export interface LinkOffer {
  readonly uri: string
  readonly link: string
  readonly secret: PrivateKey
  readonly nonce: Uint8Array
}
export interface LinkTarget {
  readonly link: string
  readonly key: PublicKey
  readonly nonce: Uint8Array
}
/** What the primary device tells the new one. */
export interface LinkGrant {
  readonly user: string
  readonly identity: IdentityKeyPair
  readonly linkToken: string
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes)

export function offerLink(link: string): LinkOffer {
  const secret = PrivateKey.generate()
  const nonce = own(randomBytes(NONCE_BYTES))
  const uri = `${SCHEME}${link}/${text(secret.getPublicKey().serialize())}/${text(nonce)}`
  return { uri, link, secret, nonce }
}

/** Throws a ClientFault `invalid` when the text is no such link. */
export function parseLink(uri: string): LinkTarget {
  const wrong = () => new ClientFault('invalid', `That is no link of a new device; it begins with ${SCHEME}`)
  const [link = '', key = '', nonce = '', rest] = uri.trim().slice(SCHEME.length).split('/')
  const keyBytes = Buffer.from(key, 'base64url')
  const nonceBytes = Buffer.from(nonce, 'base64url')
  if (!uri.trim().startsWith(SCHEME) || link === '' || rest !== undefined) throw wrong()
  if (keyBytes.length !== KEY_BYTES || nonceBytes.length !== NONCE_BYTES) throw wrong()
  try {
    return { link, key: PublicKey.deserialize(own(keyBytes)), nonce: own(nonceBytes) }
  } catch {
    throw wrong()
  }
}

export function sealGrant(target: LinkTarget, grant: LinkGrant): Uint8Array {
  const { user, identity, linkToken } = grant
  const said = JSON.stringify({ user, identity: text(identity.privateKey.serialize()), linkToken })
  return target.key.seal(own(Buffer.from(said)), INFO, own(target.nonce))
}

/** Throws a ClientFault `link_expired` when it was not sealed for this offer. */
export function openGrant(offer: LinkOffer, sealed: Uint8Array): LinkGrant {
  try {
    const opened = offer.secret.open(own(sealed), INFO, own(offer.nonce))
    const { user, identity, linkToken } = JSON.parse(Buffer.from(opened).toString()) as Record<string, string>
    const secret = PrivateKey.deserialize(own(Buffer.from(identity ?? '', 'base64url')))
    if (user === undefined || linkToken === undefined) throw new Error('incomplete')
    return { user, identity: new IdentityKeyPair(secret.getPublicKey(), secret), linkToken }
  } catch {
    throw new ClientFault('link_expired', 'The answer was not made for this link; begin linking again.')
  }
}
