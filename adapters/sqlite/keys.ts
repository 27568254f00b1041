/**
 * Public keys in SQLite. One group of takes, or one put, is under way at a time: what the read connection shows is what
 * nobody was given, so each key is chosen once, and it is deleted durably before it is answered. Takes that arrive
 * meanwhile make the next group, which is one transaction. Nothing is left to give back when it fails: nothing is
 * gone. The only others that delete keys end devices.
 */
import type { SQLOutputValue } from 'node:sqlite'
import { IntakeFault } from '../../core/envelope.ts'
import type { Keys, Prekey, PrekeyBundle, SignedPrekey } from '../../core/ports.ts'
import { KIND_EC, KIND_KEM, keyStatements } from './key-statements.ts'
import type { Statement } from './schema.ts'
import { prepared, type Store } from './store.ts'

const REPEATED = `SELECT signed_id, signed_key, signed_signature, last_id, last_key, last_signature FROM device_keys
  WHERE device = ?`
const FIRST = `SELECT key_id, key, signature FROM prekeys WHERE device = ? AND kind = ? ORDER BY key_id LIMIT ?`
const COUNT = 'SELECT count(*) AS n FROM prekeys WHERE device = ? AND kind = ?'
/** Bundles of one group; a larger take is a group by itself. */
const GROUP_BUNDLES_MAX = 1_024
/** Takes and puts that wait. Each is a request over HTTP that waits with it. */
const JOBS_MAX = 10_000

type Columns = Record<string, SQLOutputValue>
type Repeated = { readonly signedPrekey: SignedPrekey; readonly lastResortPrekey: SignedPrekey }
type Wanted = Parameters<Keys['take']>[0]

function countOf({ reader }: Store, device: string, kind: number): number {
  return prepared(reader, COUNT).get(device, kind)?.['n'] as number
}

function repeatedOf({ reader }: Store, device: string): Repeated | undefined {
  const row = prepared(reader, REPEATED).get(device)
  if (row === undefined) return undefined
  const named = (kind: 'signed' | 'last'): SignedPrekey => ({
    id: row[`${kind}_id`] as number,
    key: row[`${kind}_key`] as Uint8Array,
    signature: row[`${kind}_signature`] as Uint8Array,
  })
  return { signedPrekey: named('signed'), lastResortPrekey: named('last') }
}

/** What a device can give in one group. */
interface Stock {
  readonly repeated: Repeated
  readonly ec: Shelf
  readonly kem: Shelf
}
/** The first keys of one kind; `left` counts all of them. */
interface Shelf {
  readonly rows: Columns[]
  left: number
}

function shelfOf(store: Store, device: string, kind: number, most: number): Shelf {
  if (most === 0) return { rows: [], left: 0 }
  return { rows: prepared(store.reader, FIRST).all(device, kind, most), left: countOf(store, device, kind) }
}

interface Given {
  readonly bundle: PrekeyBundle
  /** Statements that must each delete a row. */
  readonly deletes: Statement[]
}

function give(device: string, { repeated, ec, kem }: Stock, spend: boolean): Given {
  const deletes: Statement[] = []
  const next = (shelf: Shelf, kind: number): Columns | undefined => {
    const row = spend ? shelf.rows.shift() : undefined
    if (row === undefined) return undefined
    shelf.left--
    deletes.push(['deletePrekey', device, kind, row['key_id'] as number])
    return row
  }
  const [ecRow, kemRow] = [next(ec, KIND_EC), next(kem, KIND_KEM)]
  const prekey = (row: Columns): Prekey => ({ id: row['key_id'] as number, key: row['key'] as Uint8Array })
  return {
    deletes,
    bundle: {
      signedPrekey: repeated.signedPrekey,
      oneTimePrekey: ecRow && prekey(ecRow),
      kemPrekey: kemRow
        ? { ...prekey(kemRow), signature: kemRow['signature'] as Uint8Array }
        : repeated.lastResortPrekey,
      left: { ec: ecRow && ec.left, kem: kemRow && kem.left },
    },
  }
}

/** Chooses for all of a group, in order: no key twice. */
function choose(store: Store, wanted: Wanted): (Given | undefined)[] {
  const most = new Map<string, number>()
  for (const { device, spend } of wanted) most.set(device, (most.get(device) ?? 0) + (spend ? 1 : 0))
  const stocks = new Map<string, Stock>()
  for (const [device, count] of most) {
    const repeated = repeatedOf(store, device)
    if (repeated === undefined) continue
    const [ec, kem] = [shelfOf(store, device, KIND_EC, count), shelfOf(store, device, KIND_KEM, count)]
    stocks.set(device, { repeated, ec, kem })
  }
  return wanted.map(({ device, spend }) => {
    const stock = stocks.get(device)
    return stock && give(device, stock, spend)
  })
}

/** Resolves when what was given is gone. */
async function takeGroup(store: Store, wanted: Wanted): Promise<(PrekeyBundle | undefined)[]> {
  const chosen = choose(store, wanted)
  const deletes = chosen.flatMap((given) => given?.deletes ?? [])
  const changes = deletes.length === 0 ? [] : await store.commits.alone(deletes)
  let at = 0
  return chosen.map((given) => {
    const own = changes.slice(at, at + (given?.deletes.length ?? 0))
    at += own.length
    // A key that went away by itself: the device ended meanwhile.
    return own.every((rows) => rows === 1) ? given?.bundle : undefined
  })
}

interface Take {
  readonly wanted: Wanted
  resolve(bundles: (PrekeyBundle | undefined)[]): void
  reject(fault: unknown): void
}
interface Put {
  readonly statements: Statement[]
  resolve(): void
  reject(fault: unknown): void
}
type Job = Take | Put

/** Takes in front of the queue, as many as make a group. */
function nextGroup(jobs: Job[]): Take[] {
  const group: Take[] = []
  let bundles = 0
  for (;;) {
    const job = jobs[0]
    if (job === undefined || 'statements' in job) return group
    bundles += job.wanted.length
    if (group.length > 0 && bundles > GROUP_BUNDLES_MAX) return group
    group.push(job)
    jobs.shift()
  }
}

async function serve(store: Store, group: readonly Take[]): Promise<void> {
  const wanted = group.flatMap((take) => take.wanted)
  try {
    const bundles = await takeGroup(store, wanted)
    let at = 0
    for (const take of group) {
      take.resolve(bundles.slice(at, at + take.wanted.length))
      at += take.wanted.length
    }
  } catch (fault) {
    for (const take of group) take.reject(fault)
  }
}

/** Opens the port over the store. */
export function createKeys(store: Store): Keys {
  const jobs: Job[] = []
  let isBusy = false

  async function work(): Promise<void> {
    if (isBusy) return
    isBusy = true
    while (jobs.length > 0) {
      const group = nextGroup(jobs)
      if (group.length > 0) {
        await serve(store, group)
        continue
      }
      const { statements, resolve, reject } = jobs.shift() as Put
      await store.commits.alone(statements).then(() => resolve(), reject)
    }
    isBusy = false
  }

  function add(job: Job): void {
    if (jobs.length >= JOBS_MAX) throw new IntakeFault('overloaded', 'too many requests for keys wait')
    jobs.push(job)
    void work()
  }

  return {
    put(device, upload) {
      const statements: Statement[] = [
        ...keyStatements(device, upload, store.now()),
        ['dropEndedKeys', device],
        ['dropEndedPrekeys', device],
      ]
      return new Promise((resolve, reject) => add({ statements, resolve, reject }))
    },
    take: (wanted) => new Promise((resolve, reject) => add({ wanted, resolve, reject })),
    count: async (device) => ({ ec: countOf(store, device, KIND_EC), kem: countOf(store, device, KIND_KEM) }),
    repeated: async (device) => repeatedOf(store, device),
  }
}
