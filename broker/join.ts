/** CONNECT: judged by admission and authenticate before aedes sees the connection. */
import type { Rejection } from '../plugins/admission.ts'
import type { Connection } from '../plugins/connection.ts'
import { connack, parseConnect } from '../topics/frames.ts'
import { close, end, type Guard, type Guards } from './guarded.ts'

/** A socket whose CONNECT was refused is closed by the server after this, if the client has not closed it. */
export const REFUSED_LINGER_MS = 1_000

/** Judges a whole CONNECT frame and hands the stream to aedes, or refuses it. */
export async function join(guards: Guards, guard: Guard, frame: Buffer): Promise<void> {
  const { plugins } = guards
  const connect = parseConnect(frame)
  if ('reason' in connect) return refuse(guards, guard, connect)
  if (guards.isDraining) return refuse(guards, guard, { returnCode: 3, reason: 'shutting_down' })
  const rejection = plugins.admission.judge(connect)
  if (rejection !== undefined) return refuse(guards, guard, rejection)
  const turn = plugins.admission.turn(guard.ticket)
  if (turn !== undefined) await turn
  if (guard.stage !== 'joining') return
  const login = await plugins.login(connect)
  if (guard.stage !== 'joining') return
  if (login.who === 'refused') return refuse(guards, guard, login)
  let clientId = `observer/${connect.clientId}`
  if (login.who === 'device') {
    const limited = plugins.admission.judgeRate(connect.clientId)
    if (limited !== undefined) return refuse(guards, guard, limited)
    clientId = connect.clientId
    guard.connection = plugins.connect(login.principal, wireOf(guards, guard), connect.will !== undefined)
  }
  guard.isClean = connect.clean
  guard.clientId = clientId
  // The newer connection wins; what the older one has sent is worked off, its PUBACKs are true (B4).
  const older = guards.byClientId.get(clientId)
  if (older !== undefined) end(guards, older, 'takeover')
  guards.byClientId.set(clientId, guard)
  guard.client = guards.engine().adopt(guard.stream, connect, clientId)
}

function refuse(guards: Guards, guard: Guard, rejection: Rejection): void {
  guard.reason ??= rejection.reason
  if (rejection.returnCode !== 0) guard.stream.write(connack(rejection.returnCode))
  // The CONNACK is to arrive: end, and destroy when it did or when the peer does not close.
  close(guards, guard)
  guard.stream.end()
  setTimeout(() => guard.stream.destroy(), REFUSED_LINGER_MS).unref()
}

function wireOf(guards: Guards, guard: Guard): Connection['wire'] {
  const { stream } = guard
  return {
    write(bytes, sent) {
      guards.metrics.socketBytesOut += bytes.length
      stream.write(bytes, sent)
    },
    bufferedBytes: () => stream.writableLength,
    pauseReading() {
      stream.pause()
      guard.client?.suspend()
    },
    resumeReading() {
      guard.client?.resume()
      stream.resume()
    },
    end: (reason) => end(guards, guard, reason),
  }
}
