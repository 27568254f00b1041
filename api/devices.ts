/** The devices of the caller's own account: which there are, their sealed names, and how one ends. */
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Person, PersonDevice, Ports } from '../core/ports.ts'
import type { App } from './app.ts'
import { personOf, principalOf, deviceSecurity as security } from './authorise.ts'
import { ProblemFault } from './problem.ts'
import { revokeDevice, tellDevices } from './revoke.ts'
import { BODY_BYTES_SMALL, bytesOf, closed, day, deviceId, emptyBody, name, none, problems, textOf } from './shapes.ts'

const MINUTE_MS = 60_000

export const shownDevice = Type.Object({
  device: deviceId,
  number: Type.Integer(),
  registrationId: Type.Integer(),
  name: Type.Optional(Type.String({ description: 'Sealed: base64url.' })),
  created: Type.String({ format: 'date' }),
  primary: Type.Boolean(),
  current: Type.Boolean({ description: 'The one that asks.' }),
  lastActive: Type.Optional(
    Type.String({
      format: 'date-time',
      description: 'When it was connected last, to the minute; now for one that is. Absent when not known.',
    }),
  ),
})

/** To the day for when it was made, to the minute for when it was here: more is nobody's business. */
function showDevice(device: PersonDevice, current: string, activeMs: number) {
  const { id, number, registrationId, name: sealed, createdMs, isPrimary } = device
  return {
    device: id,
    number,
    registrationId,
    ...(sealed === undefined ? {} : { name: textOf(sealed) }),
    created: day(createdMs),
    primary: isPrimary,
    current: id === current,
    ...(activeMs === 0 ? {} : { lastActive: new Date(activeMs - (activeMs % MINUTE_MS)).toISOString() }),
  }
}

/** Devices of a person for themselves. Where it is not known who is connected now, what was known before is shown. */
export async function showDevices({ claims, now }: Ports, { devices }: Person, current: string) {
  const here = await claims.locate(devices.map(({ id }) => id)).catch(() => new Set<string>())
  return devices.map((device) => showDevice(device, current, here.has(device.id) ? now() : device.seenMs))
}

// Any text: what is no id is a device that nobody has.
const params = Type.Object({ device: Type.String() })
const tags = ['accounts']

/** A device that the caller may change: itself, or any of the account for the primary one. */
async function changeable(
  ports: Ports,
  request: FastifyRequest,
  id: string,
): Promise<{ person: Person; device: PersonDevice }> {
  const person = await personOf(ports, request)
  const device = person.devices.find((candidate) => candidate.id === id)
  // One answer for what there is not and what is somebody else's.
  if (device === undefined) throw new ProblemFault('unknown_recipient', 'The account has no such device.')
  const { id: caller } = principalOf(request).device
  if (id !== caller && person.devices.find((each) => each.id === caller)?.isPrimary !== true) {
    throw new ProblemFault('not_primary', 'A linked device may change only itself; use the primary device.')
  }
  return { person, device }
}

export function deviceRoutes(app: App, ports: Ports): void {
  app.get(
    '/v1/devices',
    {
      schema: {
        summary: 'List the devices of your account',
        tags,
        security,
        response: { 200: Type.Object({ devices: Type.Array(shownDevice) }), ...problems },
      },
    },
    async (request) => {
      const person = await personOf(ports, request)
      return { devices: await showDevices(ports, person, principalOf(request).device.id) }
    },
  )
  app.patch(
    '/v1/devices/:device',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Name a device of your account',
        tags,
        security,
        params,
        body: Type.Object({ name }, closed),
        response: none,
      },
    },
    async (request, reply) => {
      const { device } = await changeable(ports, request, request.params.device)
      await ports.accounts.change(device.id, { name: bytesOf(request.body.name, 'name') })
      return reply.code(204).send(null)
    },
  )
  app.delete(
    '/v1/devices/:device',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'End a device of your account: its token, its connection, its inbox and its keys',
        tags,
        security,
        params,
        body: emptyBody,
        response: none,
      },
    },
    async (request, reply) => {
      const { person, device } = await changeable(ports, request, request.params.device)
      await revokeDevice(ports, device.id)
      await tellDevices(ports, person.user, device.id)
      return reply.code(204).send(null)
    },
  )
}
