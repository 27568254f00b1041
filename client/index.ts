/** The SDK: what an app imports. */
export { openClient } from './client.ts'
export type { Events } from './events.ts'
export { type ClientErrorCode, ClientFault } from './faults.ts'
export { ApiFault, type ApiFaultCode } from './http.ts'
export type { Message, MessageStatus } from './message-rows.ts'
export type { Client, ClientSettings, Me, ShownDevice } from './public.ts'
export type { Unlock } from './store/vault.ts'
