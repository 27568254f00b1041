/** Step 3 for things: `d/<device>/raw/<to>[/<n>]`, any bytes (WIRE.md, raw devices). */
import { DEDUPE_NONE, DEDUPE_RISING } from '../core/envelope.ts'
import { limits } from '../topics/limits.ts'
import { rawNumber, rawTo } from '../topics/topic.ts'
import type { Connection } from './connection.ts'
import { deliverable, type Ingress, join, joinRefusal, pendingEnvelope, sendingOf, withRoute } from './ingress.ts'
import { type Refusal, refusal } from './refuse.ts'
import { type Route, resolveRaw } from './routes.ts'

const SLASH = 47

/** A PUBLISH whose topic is `rest` behind `d/<device>/raw/`, payload in `source[start..end)`. */
export function onRaw(
  ingress: Ingress,
  connection: Connection,
  packetId: number,
  bytes: number,
  source: Buffer,
  restStart: number,
  restEnd: number,
  end: number,
): void {
  let cut = restStart
  while (cut < restEnd && source[cut] !== SLASH) cut++
  const to = source.toString('latin1', restStart, cut)
  const hasNumber = cut < restEnd
  const number = hasNumber ? rawNumber(source.toString('latin1', cut + 1, restEnd)) : 0
  const start = restEnd + 2
  const refuse = (refused: Refusal) => {
    const n = hasNumber ? source.toString('latin1', cut + 1, restEnd) : ''
    joinRefusal(ingress, connection, packetId, bytes, { ...refused, to, n })
  }
  if (number === undefined) return refuse(refusal('number_invalid', 0))
  if (end - start > limits.rawBytesMax) {
    return refuse(
      refusal('too_large', number, `the payload has ${end - start} bytes; at most ${limits.rawBytesMax} are taken`),
    )
  }
  const use = (route: Route | undefined) => {
    if (route === undefined) return refuse(refusal('storage_unavailable', number))
    if (route.error !== undefined) return refuse(refusal(route.error, number))
    const targets = deliverable(ingress, route.targets)
    if (targets.length === 0) return refuse(refusal('undeliverable', number))
    const envelope = pendingEnvelope({
      device: connection.device,
      deviceNumber: connection.principal.device.number,
      stamp: number,
      hash: 0,
      dedupe: hasNumber ? DEDUPE_RISING : DEDUPE_NONE,
      afterSeq: 0,
      expiresMs: 0,
      peer: '',
      source,
      targets,
      bodies: [{ field: 1, start, end }],
    })
    join(ingress, { connection, packetId, bytes, envelope, refused: undefined })
  }
  const known = sendingOf(connection).routes.get(to)
  if (known !== undefined && known.version === ingress.ports.directory.version()) return use(known)
  const parsed = rawTo(to)
  if (parsed === undefined) return refuse(refusal('recipient_invalid', number))
  withRoute(ingress, connection, to, () => resolveRaw(ingress.ports.directory, connection.principal, parsed), use)
}
