/** Who may write raw bytes to whom (WIRE.md, raw devices). Pure. */
import type { Account } from './ports.ts'

/** `allowedBy(owner)`: keys that an owner lists. Two people never exchange raw bytes: `raw_not_allowed`. */
export function judgeRaw(
  sender: Account,
  recipient: Account,
  allowedBy: (owner: string) => ReadonlySet<string>,
): 'raw_not_allowed' | 'not_allowed' | undefined {
  if (sender.kind === 'person' && recipient.kind === 'person') return 'raw_not_allowed'
  const senderSide = sender.owner ?? sender.key
  const recipientSide = recipient.owner ?? recipient.key
  if (senderSide === recipientSide) return undefined
  const isListed = (owner: string, other: Account) =>
    allowedBy(owner).has(other.key) || (other.owner !== undefined && allowedBy(owner).has(other.owner))
  if (recipient.kind !== 'person' && isListed(recipientSide, sender)) return undefined
  if (sender.kind !== 'person' && isListed(senderSide, recipient)) return undefined
  return 'not_allowed'
}
