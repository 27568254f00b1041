/**
 * Linking a device. The new one opens a mailbox and shows its id and a key of its own as a QR code; the primary one
 * puts the identity key and a link token into it, sealed for that key. The server carries bytes that it cannot read.
 */
import { randomBytes } from 'node:crypto'
import { Type } from 'typebox'
import type { Ports } from '../core/ports.ts'
import { uuidText } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { primaryOf, principalOf, deviceSecurity as security } from './authorise.ts'
import { newToken } from './bearer.ts'
import { addressOf, HOUR_MS, limitTo } from './limit.ts'
import { ProblemFault } from './problem.ts'
import {
  BODY_BYTES_SMALL,
  type Bounds,
  bytesOf,
  bytesText,
  closed,
  emptyBody,
  none,
  problems,
  textOf,
} from './shapes.ts'

const LINK_BYTES = 16
/** Long polling: shorter than what proxies wait. */
const READ_WAIT_MS = 20_000
const tags = ['accounts']
const params = Type.Object({ link: Type.String() })
const expiresInS = limits.linkTtlMs / 1_000
const noLink = (): ProblemFault => new ProblemFault('unknown_recipient', 'There is no such link, or it is over.')

/** What the new device asks, which nobody knows yet. */
export function newLinkRoutes(app: App, { links, limiter, now }: Ports, bounds: Bounds): void {
  app.post(
    '/v1/links',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Open a mailbox for the primary device of an account to answer',
        tags,
        body: emptyBody,
        response: { 201: Type.Object({ link: Type.String(), expiresInS: Type.Integer() }), ...problems },
      },
    },
    async (request, reply) => {
      const most = bounds.linksPerAddressPerHourMax
      await limitTo(limiter, 'links', addressOf(request.ip), most, HOUR_MS, 'Too many links were opened here; wait.')
      const link = randomBytes(LINK_BYTES).toString('base64url')
      await links.open(link, now() + limits.linkTtlMs)
      reply.code(201).header('cache-control', 'no-store')
      return { link, expiresInS }
    },
  )
  app.get(
    '/v1/links/:link',
    {
      schema: {
        summary: 'Read the mailbox; waits up to 20 s for what is put into it',
        tags,
        params,
        response: { 200: Type.Object({ sealed: Type.String() }), ...none },
      },
    },
    async (request, reply) => {
      const sealed = await links.read(request.params.link, READ_WAIT_MS)
      if (sealed === undefined) throw noLink()
      reply.header('cache-control', 'no-store')
      return sealed === null ? reply.code(204).send(null) : { sealed: textOf(sealed) }
    },
  )
}

/** What a device asks that is known. */
export function linkRoutes(app: App, ports: Ports, bounds: Bounds): void {
  const { links, limiter, now } = ports
  app.put(
    '/v1/links/:link',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Answer a new device: once',
        tags,
        security,
        params,
        body: Type.Object({ sealed: bytesText(1, limits.linkBytesMax) }, closed),
        response: none,
      },
    },
    async (request, reply) => {
      if (!(await links.put(request.params.link, bytesOf(request.body.sealed, 'sealed')))) throw noLink()
      ports.log.info({ device: principalOf(request).device.id }, 'a link was answered')
      return reply.code(204).send(null)
    },
  )
  app.post(
    '/v1/link-tokens',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Make a token with which one more device may join your account, once',
        tags,
        security,
        body: emptyBody,
        response: { 201: Type.Object({ linkToken: Type.String(), expiresInS: Type.Integer() }), ...problems },
      },
    },
    async (request, reply) => {
      const { user } = await primaryOf(ports, request)
      const most = bounds.linksPerAddressPerHourMax
      await limitTo(limiter, 'link-tokens', uuidText(user), most, HOUR_MS, 'Too many link tokens were made; wait.')
      const { token: linkToken, tokenHash } = newToken()
      await links.grant(tokenHash, user, now() + limits.linkTtlMs)
      reply.code(201).header('cache-control', 'no-store')
      return { linkToken, expiresInS }
    },
  )
}
