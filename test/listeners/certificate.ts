/** Self-signed certificates for tests, written in DER by hand (X.690, RFC 5280), so that no program has to be there. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

const OID_ECDSA_SHA256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]
const OID_COMMON_NAME = [0x55, 0x04, 0x03]
const OID_SUBJECT_ALT_NAME = [0x55, 0x1d, 0x11]
const LOOPBACK = Buffer.from([127, 0, 0, 1])
const DAY_MS = 86_400_000

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const { length } = body
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...head]), body])
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts)
const oid = (bytes: readonly number[]): Buffer => der(0x06, Buffer.from(bytes))
const integer = (...bytes: readonly number[]): Buffer => der(0x02, Buffer.from(bytes))
const bits = (bytes: Uint8Array): Buffer => der(0x03, Buffer.of(0), bytes)
const utcTime = (ms: number): Buffer =>
  der(0x17, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`))

/** Writes a fresh certificate for 127.0.0.1 and its key to `folder`, under the same names each time. */
export function writeCertificate(folder: string, commonName: string): CertificateFiles {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const algorithm = sequence(oid(OID_ECDSA_SHA256))
  const name = sequence(der(0x31, sequence(oid(OID_COMMON_NAME), der(0x0c, Buffer.from(commonName)))))
  const altNames = sequence(oid(OID_SUBJECT_ALT_NAME), der(0x04, sequence(der(0x87, LOOPBACK))))
  const body = sequence(
    der(0xa0, integer(2)),
    // In front a byte that is neither zero nor a sign.
    integer(1, ...randomBytes(7)),
    algorithm,
    name,
    sequence(utcTime(Date.now() - DAY_MS), utcTime(Date.now() + DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(altNames)),
  )
  const certificate = sequence(body, algorithm, bits(sign('sha256', body, privateKey)))
  const text = certificate.toString('base64').replace(/(.{64})/g, '$1\n')
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  writeFileSync(files.cert, `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`)
  writeFileSync(files.key, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  return files
}
