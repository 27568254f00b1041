/** The SDK: what an app imports. */
export { openClient } from './client.ts'
export type { Events } from './events.ts'
export { type ClientErrorCode, ClientFault, clientErrors } from './faults.ts'
export type { Client, ClientSettings, Me, ShownDevice } from './public.ts'
export type { Message, MessageStatus } from './store/message-rows.ts'
export type { Unlock } from './store/vault.ts'
