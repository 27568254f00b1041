/** Pushes that nobody sends: a line of the log says what would be. For trying things out. */
import type { Log, Push } from '../../core/ports.ts'

export function createConsolePush(log: Log): Push {
  return {
    async send(device, { waiting }, signal) {
      signal?.throwIfAborted()
      log.info({ device, waiting }, 'a push was not sent but written here')
    },
  }
}
