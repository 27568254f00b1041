/**
 * Who asks? The bearer token is a device's token; its SHA-256 is looked up, so there is nothing to guess a name from.
 * One answer for whoever is not known: no token, a wrong one, one of a device that ended, one of a thing.
 */
import type { FastifyRequest } from 'fastify'
import type { Person, Ports, Principal } from '../core/ports.ts'
import type { App } from './app.ts'
import { bearerHash } from './bearer.ts'
import { isRecalled } from './idempotency.ts'
import { ProblemFault } from './problem.ts'

/** For the schema of a route that only a person's device may ask. */
export const deviceSecurity = [{ device: [] }]

const principals = new WeakMap<FastifyRequest, Principal>()

/** Lets only devices of persons into the routes of `app`: a scope of its own. */
export function requireDevice(app: App, ports: Ports): void {
  app.addHook('onRequest', async (request) => {
    // An answer that was lost may be fetched again with the token that it replaced.
    if (isRecalled(request)) return
    const hash = bearerHash(request)
    const principal = hash && (await ports.directory.authenticate(undefined, hash))
    if (principal?.account.kind !== 'person') {
      throw new ProblemFault('unauthorized', 'Send the token of a device: Authorization: Bearer <token>.')
    }
    principals.set(request, principal)
  })
}

/** The device that asks. */
export function principalOf(request: FastifyRequest): Principal {
  const principal = principals.get(request)
  if (principal === undefined) throw new Error('a route without requireDevice asked who calls')
  return principal
}

/** The account of the device that asks, with its identity key. */
export async function personOf(ports: Ports, request: FastifyRequest): Promise<Person> {
  const person = await ports.accounts.person(principalOf(request).account.user)
  if (person !== undefined) return person
  throw new ProblemFault('not_allowed', 'The account has no identity key: it was not registered with a phone number.')
}

/** The same, for what only the primary device may do. */
export async function primaryOf(ports: Ports, request: FastifyRequest): Promise<Person> {
  const person = await personOf(ports, request)
  const { device } = principalOf(request)
  if (person.devices.find(({ id }) => id === device.id)?.isPrimary === true) return person
  throw new ProblemFault('not_primary', 'Only the primary device of the account may do this; do it there.')
}
