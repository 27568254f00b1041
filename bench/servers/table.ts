/** The servers by the name that `--vs` takes; one name may stand for several variants. */
import { ejabberd } from './ejabberd.ts'
import { heliograph } from './heliograph.ts'
import { mosquitto } from './mosquitto.ts'
import { natsAlways, natsDefault } from './nats.ts'
import { rabbitmq } from './rabbitmq.ts'
import type { ServerKind } from './server.ts'

export { heliograph }

export const peers: Record<string, readonly ServerKind[]> = {
  mosquitto: [mosquitto],
  nats: [natsDefault, natsAlways],
  ejabberd: [ejabberd],
  rabbitmq: [rabbitmq],
}
