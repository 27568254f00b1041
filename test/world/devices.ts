/** Devices for tests: accounts and tokens made in a directory, wherever it runs. */
import { createHash, randomBytes } from 'node:crypto'
import type { Directory, Kind, NewAccount } from '../../core/ports.ts'
import { newUserId } from '../../topics/ids.ts'

export interface TestDevice {
  readonly id: string
  readonly token: string
  readonly kind: Kind
  readonly user: Uint8Array
  readonly number: number
  readonly registrationId: number
}

export interface DeviceMaker {
  /** A service account with one device. Things made with it as owner call it `home`. */
  service(id: string, handle: string): Promise<TestDevice>
  /** Without an owner it belongs to the first one that was named, else to `@fleet`, whose device is `homesvc`. */
  thing(id: string, owner?: TestDevice, options?: { numbered?: boolean }): Promise<TestDevice>
  person(id: string): Promise<TestDevice>
  /** Another device of the same account. */
  sibling(of: TestDevice, id: string): Promise<TestDevice>
}

/** `create` and `account` are those of the directory. */
export function makeDevices(directory: Pick<Directory, 'create' | 'account'>): DeviceMaker {
  let firstOwner: Promise<TestDevice> | undefined

  async function add(device: Omit<TestDevice, 'token' | 'registrationId'>, accounts: NewAccount[], numbered = false) {
    const { id, user, number } = device
    const token = randomBytes(32).toString('base64url')
    const registrationId = 100 + number
    const tokenHash = createHash('sha256').update(token).digest()
    await directory.create(accounts, [{ id, user, number, registrationId, numbered, tokenHash }])
    return { ...device, token, registrationId }
  }

  const maker: DeviceMaker = {
    service(id, handle) {
      const user = newUserId('thing', randomBytes(16))
      const kind: Kind = 'service'
      return add({ id, kind, user, number: 1 }, [{ user, kind, handle, owner: undefined }])
    },
    async thing(id, owner, settings) {
      firstOwner ??= owner === undefined ? maker.service('homesvc', 'fleet') : Promise.resolve(owner)
      const { user: ownedBy } = owner ?? (await firstOwner)
      const user = newUserId('thing', randomBytes(16))
      const kind: Kind = 'thing'
      const account = { user, kind, handle: undefined, owner: ownedBy }
      return add({ id, kind, user, number: 1 }, [account], settings?.numbered)
    },
    person(id) {
      const user = newUserId('person', randomBytes(16))
      const kind: Kind = 'person'
      return add({ id, kind, user, number: 1 }, [{ user, kind, handle: undefined, owner: undefined }])
    },
    async sibling(of, id) {
      const account = await directory.account(of.user)
      const number = Math.max(...(account?.devices.map((device) => device.number) ?? [0])) + 1
      return add({ id, kind: of.kind, user: of.user, number }, [])
    },
  }
  return maker
}
