/** Routes of a connection: looked up at once, or resolved while the frames behind wait in their order. */
import type { Connection, Held } from './connection.ts'
import { giveUp, type Ingress, leave, sendingOf } from './ingress.ts'
import type { Route } from './routes.ts'

const ROUTES_PER_CONNECTION_MAX = 4_096

/** The route to a recipient, when it was resolved and the directory has not changed since. */
export function knownRoute(ingress: Ingress, connection: Connection, key: string): Route | undefined {
  const known = connection.sending?.routes.get(key)
  return known !== undefined && known.version === ingress.ports.directory.version() ? known : undefined
}

/**
 * Runs `use` with the route, now when it is known, else after the directory answered; frames behind it wait in order.
 * `resolve` fails: the store is down, and the frame is refused as such.
 */
export function withRoute(
  ingress: Ingress,
  connection: Connection,
  key: string,
  resolve: () => Promise<Route>,
  use: (route: Route | undefined) => void,
): void {
  const sending = sendingOf(connection)
  const known = knownRoute(ingress, connection, key)
  if (known !== undefined) return use(known)
  if (sending.routes.size >= ROUTES_PER_CONNECTION_MAX) sending.routes.clear()
  sending.isResolving = true
  void resolve()
    .catch((error: Error) => {
      ingress.ports.log.warn({ device: connection.device, error: error.message }, 'resolving a recipient failed')
      return undefined
    })
    .then((route) => {
      if (route !== undefined) sending.routes.set(key, route)
      // `use` may resolve another one, and goes on holding those behind it.
      sending.isResolving = false
      use(route)
      takeHeld(ingress, connection)
    })
}

/** The frames behind the one that waited, up to the next that has to wait. */
function takeHeld(ingress: Ingress, connection: Connection): void {
  const sending = sendingOf(connection)
  while (sending.held.length > 0 && !sending.isResolving) {
    const { packetId, bytes, take } = sending.held.shift() as Held
    if (sending.isStopped) leave(ingress, connection, packetId, bytes)
    else {
      const reason = take()
      if (reason === undefined) continue
      giveUp(ingress, connection, packetId, bytes)
      connection.wire.end(reason)
    }
  }
}
