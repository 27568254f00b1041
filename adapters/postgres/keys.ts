/**
 * Public keys in PostgreSQL. A take is one transaction that holds the lock of each device whose keys it spends: each
 * key is given once, counts are exact, and nobody finds a set half replaced. Takes of this process that arrive
 * meanwhile make the next group, which is one transaction. When it fails, nothing was given; what it deleted is gone at
 * worst.
 */
import { IntakeFault } from '../../core/envelope.ts'
import type { Clock, Keys, Prekey, PrekeyBundle, SignedPrekey } from '../../core/ports.ts'
import type { Database } from './database.ts'
import { putKeys } from './key-rows.ts'
import type { Columns } from './transact.ts'

/** Bundles of one group; a larger take is a group by itself. */
const GROUP_BUNDLES_MAX = 1_024
/** Takes that wait. Each is a request over HTTP that waits with it. */
const TAKES_MAX = 10_000

type Repeated = { readonly signedPrekey: SignedPrekey; readonly lastResortPrekey: SignedPrekey }
export type Wanted = Parameters<Keys['take']>[0]
type Bundles = (PrekeyBundle | undefined)[]

/** Plain arrays, without the methods of a Buffer and what it is a part of. */
const own = (bytes: unknown): Uint8Array => new Uint8Array(bytes as Uint8Array)

function repeatedFrom(row: Columns): Repeated {
  const named = (kind: 'signed' | 'last'): SignedPrekey => ({
    id: row[`${kind}_id`] as number,
    key: own(row[`${kind}_key`]),
    signature: own(row[`${kind}_signature`]),
  })
  return { signedPrekey: named('signed'), lastResortPrekey: named('last') }
}

/** What a device gives in one group. */
interface Stock {
  readonly repeated: Repeated
  readonly ec: Shelf<Prekey>
  readonly kem: Shelf<SignedPrekey>
}
/** Keys that were taken for this group; `left` counts those too that were not. */
interface Shelf<T> {
  readonly keys: T[]
  left: number
}

/** An array of bigint comes as texts. */
function shelfFrom(row: Columns, kind: 'ec' | 'kem'): Shelf<SignedPrekey> {
  const ids = (row[`${kind}_ids`] as string[] | null | undefined) ?? []
  const keys = row[`${kind}_keys`] as Buffer[]
  const signatures = row[`${kind}_signatures`] as Buffer[] | undefined
  return {
    keys: ids.map((id, i) => ({ id: Number(id), key: own(keys[i]), signature: own(signatures?.[i] ?? []) })),
    left: (row[`${kind}_count`] as number | undefined) ?? 0,
  }
}

function stockFrom(row: Columns): Stock {
  const ec = shelfFrom(row, 'ec')
  return {
    repeated: repeatedFrom(row),
    ec: { left: ec.left, keys: ec.keys.map(({ id, key }) => ({ id, key })) },
    kem: shelfFrom(row, 'kem'),
  }
}

function next<T>(shelf: Shelf<T>): T | undefined {
  const key = shelf.keys.shift()
  if (key !== undefined) shelf.left--
  return key
}

function give({ repeated, ec, kem }: Stock, spend: boolean): PrekeyBundle {
  const ecKey = spend ? next(ec) : undefined
  const kemKey = spend ? next(kem) : undefined
  return {
    signedPrekey: repeated.signedPrekey,
    oneTimePrekey: ecKey,
    kemPrekey: kemKey ?? repeated.lastResortPrekey,
    left: { ec: ecKey && ec.left, kem: kemKey && kem.left },
  }
}

/** Resolves when what is given is gone. Each call is a transaction; any number of them may be under way. */
export async function takeGroup(database: Database, wanted: Wanted): Promise<Bundles> {
  const most = new Map<string, number>()
  for (const { device, spend } of wanted) most.set(device, (most.get(device) ?? 0) + (spend ? 1 : 0))
  const devices = [...most.keys()]
  const spending = devices.filter((device) => most.get(device) !== 0)
  if (devices.length === 0) return []
  const rows =
    spending.length === 0
      ? await database.read('repeated', devices)
      : await database.write(async (run) => {
          await run('lockKeys', spending)
          return run('takePrekeys', devices, [...most.values()])
        })
  const stocks = new Map(rows.map((row) => [row['device'] as string, stockFrom(row)]))
  return wanted.map(({ device, spend }) => {
    const stock = stocks.get(device)
    return stock && give(stock, spend)
  })
}

interface Take {
  readonly wanted: Wanted
  resolve(bundles: Bundles): void
  reject(fault: unknown): void
}

/** Takes in front of the queue, as many as make a group. */
function nextGroup(takes: Take[]): Take[] {
  let bundles = 0
  const end = takes.findIndex(({ wanted }, i) => {
    bundles += wanted.length
    return i > 0 && bundles > GROUP_BUNDLES_MAX
  })
  return takes.splice(0, end === -1 ? takes.length : end)
}

async function serve(database: Database, group: readonly Take[]): Promise<void> {
  try {
    const bundles = await takeGroup(
      database,
      group.flatMap((take) => take.wanted),
    )
    let at = 0
    for (const take of group) {
      take.resolve(bundles.slice(at, at + take.wanted.length))
      at += take.wanted.length
    }
  } catch (fault) {
    for (const take of group) take.reject(fault)
  }
}

/** Opens the port over the database. */
export function createKeys(database: Database, now: Clock): Keys {
  const takes: Take[] = []
  let isBusy = false

  async function work(): Promise<void> {
    if (isBusy) return
    isBusy = true
    while (takes.length > 0) await serve(database, nextGroup(takes))
    isBusy = false
  }

  return {
    async put(device, upload) {
      await database.write(async (run) => {
        await run('lockKeys', [device])
        // Who uploads while its device ends leaves nothing behind either.
        if ((await run('holdDevice', device)).length > 0) await putKeys(run, device, upload, now())
      })
    },
    take(wanted) {
      return new Promise((resolve, reject) => {
        if (takes.length >= TAKES_MAX) throw new IntakeFault('overloaded', 'too many requests for keys wait')
        takes.push({ wanted, resolve, reject })
        void work()
      })
    },
    async count(device) {
      const [row] = await database.read('countPrekeys', device)
      return { ec: row?.['ec'] as number, kem: row?.['kem'] as number }
    },
    async repeated(device) {
      const [row] = await database.read('repeated', [device])
      return row && repeatedFrom(row)
    },
  }
}
