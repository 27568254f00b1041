/**
 * As much of RESP, PostgreSQL's protocol 3 and CQL 4 as it takes to ask a service something over a bare socket: whether
 * it answers must not depend on a driver.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Conversation {
  /** Sends, then collects until `isWhole` finds an answer in what came since. */
  ask(bytes: Buffer, isWhole: (answer: Buffer) => boolean): Promise<Buffer>
  end(): void
}

const ANSWER_MS_MAX = 5_000

/** Connects; each answer has five seconds. */
export async function converse(host: string, port: number): Promise<Conversation> {
  const socket: Socket = connect({ host, port, noDelay: true })
  // The socket is given up on every fault: the reader below learns of it by "close".
  socket.on('error', () => undefined)
  let came = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    came = Buffer.concat([came, chunk])
    socket.emit('more')
  })
  const closed = once(socket, 'close').then(() => {
    throw new Error(`${host}:${port} closed the connection`)
  })
  closed.catch(() => undefined)
  try {
    await Promise.race([once(socket, 'connect', { signal: AbortSignal.timeout(ANSWER_MS_MAX) }), closed])
  } catch (error) {
    socket.destroy()
    throw error
  }
  return {
    async ask(bytes, isWhole) {
      came = Buffer.alloc(0)
      const late = AbortSignal.timeout(ANSWER_MS_MAX)
      socket.write(bytes)
      while (!isWhole(came)) await Promise.race([once(socket, 'more', { signal: late }), closed])
      return came
    },
    end: () => void socket.destroy(),
  }
}

/** `['PING']` as Redis reads it. */
export function redisCommand(...words: readonly string[]): Buffer {
  return Buffer.from(
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`,
  )
}

/** Asks for something whose answer is short, and gives the answer as Redis writes it. */
export async function askRedis(talk: Conversation, ...words: readonly string[]): Promise<string> {
  const isWhole = (answer: Buffer): boolean => {
    const text = answer.toString('latin1')
    const items = /^\*(\d+)\r\n/.exec(text)
    if (items !== null) return (text.match(/\r\n/g)?.length ?? 0) >= 1 + 2 * Number(items[1])
    return text.startsWith('$') && !text.startsWith('$-1') ? /^\$\d+\r\n.*\r\n$/s.test(text) : text.endsWith('\r\n')
  }
  return (await talk.ask(redisCommand(...words), isWhole)).toString('utf8')
}

interface Message {
  readonly type: string
  readonly body: Buffer
}

/** Whole messages of PostgreSQL; a part of one at the end is left out. */
export function postgresMessages(bytes: Buffer): Message[] {
  const messages: Message[] = []
  for (let at = 0; at + 5 <= bytes.length; ) {
    const end = at + 1 + bytes.readUInt32BE(at + 1)
    if (end > bytes.length) break
    messages.push({ type: String.fromCharCode(bytes[at] ?? 0), body: bytes.subarray(at + 5, end) })
    at = end
  }
  return messages
}

function withLength(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length + 4)
  return Buffer.concat([Buffer.from(type), length, body])
}

// ReadyForQuery or ErrorResponse: the server has nothing more to say.
const isAnswered = (bytes: Buffer): boolean => postgresMessages(bytes).some(({ type }) => type === 'Z' || type === 'E')

function refuseError(messages: readonly Message[]): void {
  const error = messages.find(({ type }) => type === 'E')
  if (error !== undefined) throw new Error(`PostgreSQL: ${error.body.toString('utf8').replaceAll('\0', ' ')}`)
}

/** As user and database postgres, who need no password here. */
export async function logInToPostgres(talk: Conversation): Promise<void> {
  const version = Buffer.from([0, 3, 0, 0])
  const names = Buffer.from('user\0postgres\0database\0postgres\0\0')
  refuseError(postgresMessages(await talk.ask(withLength('', Buffer.concat([version, names])), isAnswered)))
}

/** First column of the rows. Rejects with what the server says. */
export async function askPostgres(talk: Conversation, sql: string): Promise<string[]> {
  const messages = postgresMessages(await talk.ask(withLength('Q', Buffer.from(`${sql}\0`)), isAnswered))
  refuseError(messages)
  const rows = messages.filter(({ type }) => type === 'D')
  return rows.map(({ body }) => body.subarray(6, 6 + body.readInt32BE(2)).toString('utf8'))
}

const CQL_HEADER_BYTES = 9
const CQL = { error: 0x00, startup: 0x01, options: 0x05, supported: 0x06, query: 0x07, result: 0x08 } as const

async function askCassandra(
  talk: Conversation,
  opcode: number,
  body: Buffer,
): Promise<{ opcode: number; body: Buffer }> {
  const header = Buffer.from([0x04, 0, 0, 1, opcode, 0, 0, 0, 0])
  header.writeUInt32BE(body.length, 5)
  const isWhole = (bytes: Buffer): boolean =>
    bytes.length >= CQL_HEADER_BYTES && bytes.length >= CQL_HEADER_BYTES + bytes.readUInt32BE(5)
  const answer = await talk.ask(Buffer.concat([header, body]), isWhole)
  if (answer[0] !== 0x84) throw new Error('what listens there does not speak CQL 4')
  return { opcode: answer[4] ?? 0, body: answer.subarray(CQL_HEADER_BYTES) }
}

/** Whether a node says which versions it speaks. An open port alone means nothing yet. */
export async function isCqlSupported(talk: Conversation): Promise<boolean> {
  return (await askCassandra(talk, CQL.options, Buffer.alloc(0))).opcode === CQL.supported
}

function cqlString(text: string): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(Buffer.byteLength(text))
  return Buffer.concat([length, Buffer.from(text)])
}

export async function logInToCassandra(talk: Conversation): Promise<void> {
  const body = Buffer.concat([Buffer.from([0, 1]), cqlString('CQL_VERSION'), cqlString('3.0.0')])
  const { opcode } = await askCassandra(talk, CQL.startup, body)
  if (opcode !== 0x02) throw new Error('Cassandra is not READY')
}

/** First column of the rows, which has a plain type. Asks with consistency ONE. Rejects with what the node says. */
export async function askCql(talk: Conversation, cql: string): Promise<Buffer[]> {
  const text = Buffer.from(cql)
  const query = Buffer.alloc(4 + text.length + 3)
  query.writeUInt32BE(text.length)
  text.copy(query, 4)
  query.writeUInt16BE(1, 4 + text.length)
  const { opcode, body } = await askCassandra(talk, CQL.query, query)
  if (opcode === CQL.error) throw new Error(`Cassandra: ${body.subarray(6).toString('utf8')}`)
  return body.readUInt32BE() === 2 ? firstColumn(body) : []
}

/** Of a Rows result: flags, columns, keyspace and table once, each column's name and type, then the rows. */
function firstColumn(body: Buffer): Buffer[] {
  const columns = body.readUInt32BE(8)
  let at = 12
  const skipString = (): void => {
    at += 2 + body.readUInt16BE(at)
  }
  skipString()
  skipString()
  for (let i = 0; i < columns; i++) {
    skipString()
    at += 2
  }
  const rows = body.readUInt32BE(at)
  at += 4
  const values: Buffer[] = []
  for (let i = 0; i < rows * columns; i++) {
    const bytes = Math.max(0, body.readInt32BE(at))
    if (i % columns === 0) values.push(body.subarray(at + 4, at + 4 + bytes))
    at += 4 + bytes
  }
  return values
}
