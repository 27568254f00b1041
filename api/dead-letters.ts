/** The admin API of dead letters: what was accepted and could not be put into an inbox. Never its content. */
import { Type } from 'typebox'
import { replay } from '../core/dead-letters.ts'
import type { DeadLetters, Ports } from '../core/ports.ts'
import type { App } from './app.ts'
import { ProblemFault } from './problem.ts'
import { none, problems } from './shapes.ts'

const LETTERS = '/v1/admin/dead-letters'
const LETTERS_PER_ANSWER_MAX = 200

const id = Type.String({ pattern: '^[0-9]{1,5}-[0-9]{1,16}$', description: 'Shard and seq.' })
const letter = Type.Object({
  id,
  shard: Type.Integer(),
  acceptedMs: Type.Integer({ description: 'Unix ms.' }),
  device: Type.String({ description: 'Who sent it; empty when the server did.' }),
  targets: Type.Array(Type.String(), { description: 'Devices that it is for.' }),
  bytes: Type.Integer(),
  reason: Type.String(),
})
const listed = Type.Object({
  total: Type.Integer({ description: 'How many are kept.' }),
  letters: Type.Array(letter, { description: `The newest ${LETTERS_PER_ANSWER_MAX}, newest first.` }),
})

const security = [{ admin: [] }]
const tags = ['admin']
const unknown = (name: string) => new ProblemFault('unknown_recipient', `There is no dead letter ${name}.`)

/** `letters` is undefined in a profile that applies what it accepts in the same transaction: there are none. */
export function deadLetterRoutes(app: App, ports: Ports, letters: DeadLetters | undefined): void {
  const params = Type.Object({ id })
  app.get(
    LETTERS,
    {
      schema: {
        summary: 'Messages that were accepted and could not be put into an inbox',
        tags,
        security,
        response: { 200: listed, ...problems },
      },
    },
    async (_request, reply) => {
      reply.header('cache-control', 'no-store')
      if (letters === undefined) return { total: 0, letters: [] }
      const newest = await letters.list(LETTERS_PER_ANSWER_MAX)
      return {
        total: await letters.count(),
        letters: newest.map((each) => ({ ...each, targets: [...each.targets] })),
      }
    },
  )
  app.post(
    `${LETTERS}/:id/replay`,
    {
      schema: {
        summary: 'Send one again, as a new message of its conversation',
        tags,
        security,
        params,
        response: none,
      },
    },
    async (request, reply) => {
      const name = request.params.id
      if (letters === undefined || !(await replay(ports, letters, name))) throw unknown(name)
      ports.log.info({ letter: name }, 'a dead letter was sent again')
      return reply.code(204).send(null)
    },
  )
  app.delete(
    `${LETTERS}/:id`,
    { schema: { summary: 'Forget one', tags, security, params, response: none } },
    async (request, reply) => {
      const name = request.params.id
      if (letters === undefined || !(await letters.remove(name))) throw unknown(name)
      ports.log.info({ letter: name }, 'a dead letter was forgotten')
      return reply.code(204).send(null)
    },
  )
}
