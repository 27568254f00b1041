/** The caller's account: what it is, its end, a new token, a new identity; and who has a handle. */
import { Type } from 'typebox'
import { ConflictFault, IdentityFault, type Ports } from '../core/ports.ts'
import { isHandle, parseUuid, uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { personOf, primaryOf, principalOf, deviceSecurity as security } from './authorise.ts'
import { newToken } from './bearer.ts'
import { showDevices, shownDevice } from './devices.ts'
import { HOUR_MS, limitTo } from './limit.ts'
import { deviceProperties, freshDevice, numbersFull, session, sessionOf } from './new-device.ts'
import { ProblemFault } from './problem.ts'
import { endDevices } from './revoke.ts'
import { BODY_BYTES_SMALL, closed, deviceId, emptyBody, handle, none, problems, textOf, uuid } from './shapes.ts'

const tags = ['accounts']
const account = Type.Object({
  user: uuid,
  handle: Type.Optional(handle),
  identityKey: Type.String(),
  device: deviceId,
  devices: Type.Array(shownDevice),
})

function ownRoutes(app: App, ports: Ports): void {
  app.get(
    '/v1/account',
    { schema: { summary: 'Show your account', tags, security, response: { 200: account, ...problems } } },
    async (request) => {
      const person = await personOf(ports, request)
      const { id } = principalOf(request).device
      return {
        user: uuidText(person.user),
        ...(person.handle === undefined ? {} : { handle: person.handle }),
        identityKey: textOf(person.identityKey),
        device: id,
        devices: await showDevices(ports, person, id),
      }
    },
  )
  app.delete(
    '/v1/account',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Erase your account: all devices end; number, handle, names and keys are forgotten',
        tags,
        security,
        body: emptyBody,
        response: none,
      },
    },
    async (request, reply) => {
      const { user } = principalOf(request).account
      await endDevices(ports, await ports.accounts.erase(user))
      ports.log.info({ user: uuidText(user) }, 'an account was erased')
      return reply.code(204).send(null)
    },
  )
}

function tokenRoute(app: App, ports: Ports): void {
  app.post(
    '/v1/tokens',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Replace the token of this device; the old one is refused at once',
        description: 'When the answer is lost: ask again with the old token and the same Idempotency-Key.',
        tags,
        security,
        body: emptyBody,
        response: { 201: Type.Object({ token: Type.String() }), ...problems },
      },
    },
    async (request, reply) => {
      const { token, tokenHash } = newToken()
      await ports.accounts.change(principalOf(request).device.id, { tokenHash })
      reply.code(201).header('cache-control', 'no-store')
      return { token }
    },
  )
}

function identityRoute(app: App, ports: Ports, ws: () => string): void {
  app.post(
    '/v1/identity',
    {
      schema: {
        summary: 'Begin anew with another identity key: every device ends, also the one that asks',
        description: 'For the primary device, when another one was lost: who has it knows the identity key.',
        tags,
        security,
        body: Type.Object(deviceProperties, closed),
        response: { 201: session, ...problems },
      },
    },
    async (request, reply) => {
      const person = await primaryOf(ports, request)
      const fresh = freshDevice(request.body)
      const before = person.devices.map(({ id }) => id)
      try {
        const { number, ended } = await ports.accounts.replace(person.user, fresh.identityKey, before, fresh.device)
        await endDevices(ports, ended)
        ports.log.info({ device: fresh.device.id, user: uuidText(person.user) }, 'an identity was replaced')
        reply.code(201).header('cache-control', 'no-store')
        return await sessionOf(ports, person.user, fresh, number, ws())
      } catch (error) {
        if (error instanceof IdentityFault) throw new ProblemFault('unauthorized', 'The account began anew meanwhile.')
        if (!(error instanceof ConflictFault) || error.taken !== 'number') throw error
        throw numbersFull()
      }
    },
  )
}

function lookUpRoute(app: App, { directory, limiter }: Ports): void {
  app.get(
    '/v1/users/:handle',
    {
      schema: {
        summary: 'Find who has a handle, or which handle somebody has',
        tags,
        security,
        params: Type.Object({ handle: Type.String({ description: '`bob`, `@bob` or the UUID of a user.' }) }),
        response: { 200: Type.Object({ user: uuid, handle }), ...problems },
      },
    },
    async (request) => {
      const { id } = principalOf(request).device
      const most = limits.lookupsPerDevicePerHourMax
      await limitTo(limiter, 'lookups', id, most, HOUR_MS, 'Too many handles were looked up; wait.')
      const wanted = request.params.handle.replace(/^@/, '')
      // No handle looks like a UUID: it has no hyphens.
      const user = parseUuid(wanted)
      const byHandle = isHandle(wanted) ? directory.accountByHandle(wanted) : undefined
      const found = await (user === undefined ? byHandle : directory.account(user))
      if (found?.handle === undefined) throw new ProblemFault('unknown_recipient', 'Nobody has that handle.')
      return { user: uuidText(found.user), handle: found.handle }
    },
  )
}

export function accountRoutes(app: App, ports: Ports, ws: () => string): void {
  ownRoutes(app, ports)
  tokenRoute(app, ports)
  identityRoute(app, ports, ws)
  lookUpRoute(app, ports)
}
