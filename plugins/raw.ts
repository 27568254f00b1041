/** Step 3 for things: `d/<device>/raw/<to>[/<n>]`, any bytes (WIRE.md, raw devices). */
import { DEDUPE_NONE, DEDUPE_RISING, pendingEnvelope } from '../core/envelope.ts'
import { pairShard } from '../core/shards.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { limits } from '../topics/limits.ts'
import { parseUpTopic, rawNumber, rawTo } from '../topics/topic.ts'
import { judgeTopic } from './authorize.ts'
import type { Connection } from './connection.ts'
import { deliverable, type Ingress, join, joinRefusal } from './ingress.ts'
import { knownRoute, withRoute } from './recipients.ts'
import { type Refusal, refusal } from './refuse.ts'
import { type Route, resolveRaw } from './routes.ts'

const SLASH = 47
/** `raw/` */
const RAW_BYTES = 4

/**
 * A PUBLISH in `source[..end)` whose topic begins at `topicStart`, its length in front, with `d/<device>/raw/`. Gives
 * the reason to close, if any: a topic of good form whose recipient or number is none is refused instead.
 */
export function onRaw(
  ingress: Ingress,
  connection: Connection,
  packetId: number,
  bytes: number,
  source: Buffer,
  topicStart: number,
  end: number,
): DisconnectReason | undefined {
  const restEnd = topicStart + source.readUInt16BE(topicStart - 2)
  const restStart = topicStart + connection.prefix.length + RAW_BYTES
  let cut = restStart
  while (cut < restEnd && source[cut] !== SLASH) cut++
  const to = source.toString('latin1', restStart, cut)
  const hasNumber = cut < restEnd
  const number = hasNumber ? rawNumber(source.toString('latin1', cut + 1, restEnd)) : 0
  const start = restEnd + 2
  const refuse = (refused: Refusal): undefined => {
    const n = hasNumber ? source.toString('latin1', cut + 1, restEnd) : ''
    joinRefusal(ingress, connection, packetId, bytes, { ...refused, to, n })
  }
  const known = knownRoute(ingress, connection, to)
  const parsed = known === undefined ? rawTo(to) : undefined
  if (number === undefined || (known === undefined && parsed === undefined)) {
    const reason = judgeRaw(connection.device, source, topicStart, restEnd)
    return reason ?? refuse(refusal(number === undefined ? 'number_invalid' : 'recipient_invalid', number ?? 0))
  }
  if (end - start > limits.rawBytesMax) {
    return refuse(
      refusal('too_large', number, `the payload has ${end - start} bytes; at most ${limits.rawBytesMax} are taken`),
    )
  }
  const use = (route: Route | undefined): undefined => {
    if (route === undefined) return refuse(refusal('storage_unavailable', number))
    if (route.error !== undefined) return refuse(refusal(route.error, number))
    const targets = deliverable(ingress, route.targets)
    if (targets === undefined) return refuse(refusal('undeliverable', number))
    const envelope = pendingEnvelope({
      shard: pairShard(connection.principal.account.key, route.account?.key ?? '', ingress.ports.intake.shards),
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
  if (parsed === undefined) return use(known)
  withRoute(ingress, connection, to, () => resolveRaw(ingress.ports.directory, connection.principal, parsed), use)
  return undefined
}

/** The topic ends the connection when it is no text, has no good form, or has another number of levels (A4). */
function judgeRaw(device: string, source: Buffer, start: number, end: number): DisconnectReason | undefined {
  const reason = judgeTopic(source, start, end)
  if (reason !== 'foreign_topic') return reason
  return parseUpTopic(source.toString('utf8', start, end), device) === undefined ? reason : undefined
}
