/** What a measured SDK process is told, and what it prints. */

export type Work = {
  readonly role: 'send' | 'receive'
  readonly url: string
  readonly folder: string
  readonly peers: readonly string[]
  readonly messages: number
}
export type Report = { readonly wallS: number; readonly cpuS: number }

export const TEXT_CHARS = 100
