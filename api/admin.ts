/** The admin API: making, showing and revoking devices, and who may address an owner's things. Bearer ADMIN_TOKEN. */
import { timingSafeEqual } from 'node:crypto'
import { Type } from 'typebox'
import type { Secret } from '../core/config.ts'
import type { Account, DeadLetters, Ports } from '../core/ports.ts'
import { parseUuid, uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { hashOfToken } from './bearer.ts'
import { deadLetterRoutes } from './dead-letters.ts'
import { ProblemFault } from './problem.ts'
import { DEFAULT_OWNER, provision } from './provision.ts'
import { revokeDevice } from './revoke.ts'
import { closed, deviceId, handle, none, problems, registrationId, uuid as user } from './shapes.ts'

const kind = Type.Union([Type.Literal('person'), Type.Literal('thing'), Type.Literal('service')])
const security = [{ admin: [] }]
const tags = ['admin']

const provisionBody = Type.Object(
  {
    kind,
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.provisionPerRequestMax })),
    prefix: Type.Optional(Type.String({ pattern: `^[a-z0-9]{1,${limits.deviceIdCharsMax - 1}}$` })),
    ids: Type.Optional(Type.Array(deviceId, { minItems: 1, maxItems: limits.provisionPerRequestMax })),
    owner: Type.Optional({
      ...handle,
      description: `Handle of the owning account, made when missing; ${DEFAULT_OWNER}.`,
    }),
    numbered: Type.Optional(Type.Boolean({ description: 'The seq becomes the last level of the topics it receives.' })),
    user: Type.Optional({ ...user, description: 'An existing person who gets the devices.' }),
    registrationId: Type.Optional(registrationId),
  },
  closed,
)

const provisioned = Type.Object({
  devices: Type.Array(
    Type.Object({
      device: deviceId,
      user,
      token: Type.String({ description: 'Shown here and never again.' }),
      number: Type.Integer(),
      registrationId: Type.Integer(),
    }),
  ),
})

const shown = Type.Object({
  device: deviceId,
  kind,
  user,
  number: Type.Integer(),
  registrationId: Type.Integer(),
  numbered: Type.Boolean(),
  handle: Type.Optional(handle),
  owner: Type.Optional(handle),
  inboxFull: Type.Boolean(),
})

const peer = Type.Object(
  { handle: Type.Optional(handle), user: Type.Optional(user) },
  { ...closed, minProperties: 1, maxProperties: 1 },
)

/** Refuses whoever does not know the admin token. Hashes have one length, so the comparison takes one time. */
function requireAdmin(app: App, adminToken: Secret): void {
  const wanted = hashOfToken(adminToken.reveal())
  app.addHook('onRequest', async (request) => {
    const [scheme = '', token = ''] = (request.headers.authorization ?? '').split(' ')
    const isKnown = timingSafeEqual(hashOfToken(token), wanted)
    if (scheme.toLowerCase() !== 'bearer' || !isKnown) {
      throw new ProblemFault('unauthorized', 'Send the admin token: Authorization: Bearer <ADMIN_TOKEN>.')
    }
  })
}

const unknownDevice = (id: string) =>
  new ProblemFault('unknown_recipient', `No device is called ${id}, or it was revoked.`)

function showRoute(app: App, { directory, intake }: Ports): void {
  app.get(
    '/v1/admin/devices/:id',
    {
      schema: {
        summary: 'Show a device, without secrets',
        tags,
        security,
        params: Type.Object({ id: deviceId }),
        response: { 200: shown, ...problems },
      },
    },
    async (request) => {
      const { id } = request.params
      const account = await directory.accountOfDevice(id)
      const device = account?.devices.find((candidate) => candidate.id === id)
      if (account === undefined || device === undefined) throw unknownDevice(id)
      const owner =
        account.owner === undefined ? undefined : await directory.account(Buffer.from(account.owner, 'latin1'))
      const { number, registrationId, numbered } = device
      return {
        device: id,
        kind: account.kind,
        user: uuidText(account.user),
        number,
        registrationId,
        numbered,
        ...(account.handle === undefined ? {} : { handle: account.handle }),
        ...(owner?.handle === undefined ? {} : { owner: owner.handle }),
        inboxFull: intake.isFull(id),
      }
    },
  )
}

function deviceRoutes(app: App, ports: Ports): void {
  const { directory, log } = ports
  app.post(
    '/v1/admin/devices',
    {
      schema: {
        summary: 'Make devices: all of them or none',
        tags,
        security,
        body: provisionBody,
        response: { 201: provisioned, ...problems },
      },
    },
    async (request, reply) => {
      const devices = await provision(directory, request.body)
      const { device: first } = devices[0] as { device: string }
      log.info({ kind: request.body.kind, count: devices.length, first }, 'devices made')
      reply.code(201).header('cache-control', 'no-store')
      return { devices }
    },
  )
  showRoute(app, ports)
  app.post(
    '/v1/admin/devices/:id/revoke',
    {
      schema: {
        summary: 'End a device: its token, its connection and its inbox',
        tags,
        security,
        params: Type.Object({ id: deviceId }),
        response: none,
      },
    },
    async (request, reply) => {
      const { id } = request.params
      if (!(await revokeDevice(ports, id))) throw unknownDevice(id)
      return reply.code(204).send(null)
    },
  )
}

async function peerOf(ports: Ports, body: { handle?: string; user?: string }): Promise<Account> {
  const { directory } = ports
  const id = body.user === undefined ? undefined : parseUuid(body.user)
  const account = id !== undefined ? await directory.account(id) : await directory.accountByHandle(body.handle ?? '')
  if (account !== undefined) return account
  throw new ProblemFault(
    'unknown_recipient',
    `Nobody is called ${body.handle === undefined ? body.user : `@${body.handle}`}.`,
  )
}

function accountRoutes(app: App, ports: Ports): void {
  app.post(
    '/v1/admin/accounts/:handle/allow',
    {
      schema: {
        summary: 'Let an account address what this one owns',
        tags,
        security,
        params: Type.Object({ handle }),
        body: peer,
        response: none,
      },
    },
    async (request, reply) => {
      const name = request.params.handle
      const owner = await ports.directory.accountByHandle(name)
      if (owner === undefined) throw new ProblemFault('unknown_recipient', `Nobody is called @${name}.`)
      await ports.directory.allow(owner.user, (await peerOf(ports, request.body)).user)
      return reply.code(204).send(null)
    },
  )
}

/** Everything under /v1/admin. */
export function adminRoutes(app: App, ports: Ports, adminToken: Secret, letters: DeadLetters | undefined): void {
  // A scope of its own: the hook guards these routes and no others.
  void app.register(async (scope) => {
    const admin = scope as App
    requireAdmin(admin, adminToken)
    deviceRoutes(admin, ports)
    accountRoutes(admin, ports)
    deadLetterRoutes(admin, ports, letters)
  })
}
