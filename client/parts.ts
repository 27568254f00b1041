/** What an open client is made of; the calls of the public face share it. */

import type { Context } from './context.ts'
import type { Account } from './crypto/account.ts'
import type { KeyUpkeep } from './devices/key-upkeep.ts'
import type { OwnDevices } from './devices/own-devices.ts'
import type { Enrolment } from './devices/register.ts'
import type { Emitter } from './events.ts'
import type { Inbox } from './inbox/inbox.ts'
import type { Retries } from './inbox/retries.ts'
import type { Outbox } from './outbox/outbox.ts'
import type { ReadMarks } from './outbox/read-marks.ts'
import type { Store } from './store/open.ts'
import type { Transport } from './transport/transport.ts'

export interface Parts {
  readonly context: Context
  readonly store: Store
  readonly account: Account
  readonly emitter: Emitter
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly retries: Retries
  readonly readMarks: ReadMarks
  readonly enrolment: Enrolment
  readonly ownDevices: OwnDevices
  readonly keys: KeyUpkeep
  transport: Transport | undefined
  timers: NodeJS.Timeout[]
}
