/** The conformance suites on PostgreSQL. Needs DATABASE_URL; no part of `npm test`. */
import type { PostgresStore } from '../../adapters/postgres/index.ts'
import type { Ports } from '../../core/ports.ts'
import { accountsSuite } from '../ports/accounts.ts'
import { directorySuite } from '../ports/directory.ts'
import { keysSuite } from '../ports/keys.ts'
import type { Opening } from '../ports/opener.ts'
import { type Cable, makeSchema, until } from './postgres-scene.ts'

type Given = Pick<Ports, 'accounts' | 'directory' | 'keys'>

/**
 * A schema of its own. A crash cuts the process off from the server in the middle of what it does; another one starts
 * when the server has noticed, and the first comes to nothing.
 */
async function openCluster(): Promise<Opening<Given>> {
  const schema = await makeSchema()
  const clock = { offsetMs: 0 }
  const now = () => Date.now() + clock.offsetMs
  let cable: Cable
  let store: PostgresStore
  async function open(): Promise<void> {
    cable = await schema.cable()
    store = await schema.open({ now }, schema.through(cable))
  }
  await open()
  return {
    get ports() {
      return store
    },
    pendingMarks: [],
    clock,
    async facts() {
      await store.count()
      return store.facts()
    },
    commit: () => Promise.resolve(),
    age: () => Promise.resolve(),
    async reopen() {
      await store.close()
      await open()
    },
    async crash() {
      cable.cut()
      const left = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'heliograph%'`
      await until(async () => (await schema.query(left)).length === 0, 5_000)
      await open()
    },
    close: () => schema.drop(),
  }
}

describe('the adapter of PostgreSQL', () => {
  directorySuite(openCluster)
  accountsSuite(openCluster)
  keysSuite(openCluster)
})
