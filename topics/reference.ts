/**
 * The reference of topics, errors, disconnects and limits as Markdown, made from their tables: it cannot be wrong.
 * Pure.
 */
import { disconnects } from './disconnects.ts'
import { type ErrorRow, errors, RETRY_LATER, RETRY_REPAIR } from './errors.ts'
import { limitTable } from './limits.ts'
import { type TopicRow, topicTable } from './table.ts'

const INTRODUCTION = `# Topics

The contract between devices and the broker. This page is generated from \`table.ts\`, \`errors.ts\`,
\`disconnects.ts\` and \`limits.ts\` by \`node topics/write-reference.ts\`; a test compares it with them. Payloads
are in [wire.proto](wire.proto), the same table for tools is [asyncapi.yaml](asyncapi.yaml).
`

/** The whole page. */
export function referenceText(): string {
  return [INTRODUCTION, topicsSection(), errorsSection(), disconnectsSection(), limitsSection()].join('\n')
}

function topicsSection(): string {
  const rows = topicTable.map((row) => [
    code(row.pattern),
    row.direction,
    String(row.qos),
    keeping(row),
    row.payload,
    grouped(row.bytesMax),
    row.who.join(', '),
    row.plugin,
    row.about,
  ])
  const titles = ['topic', 'direction', 'QoS', 'kept', 'payload', 'bytes at most', 'who', 'owner', 'what']
  return `## Topics

\`up\`: a device publishes. \`down\`: a device or an observer receives. \`will\`: the last will of a device.
Durable, up: PUBACK means stored. Durable, down: it waits in the inbox of the device until PUBACK.

${table(titles, rows)}`
}

function keeping(row: TopicRow): string {
  if (row.durable) return 'durable'
  return row.retained ? 'retained' : 'no'
}

function errorsSection(): string {
  const rows = Object.entries<ErrorRow>(errors).map(([name, row]) => [
    String(row.number),
    code(name),
    retryName(row),
    String(row.http),
    row.about,
  ])
  return `## Errors

The answer to a request that is refused: \`Delivery.error\` for persons, a line on \`from/error/<code>\` for things.
A number is never used again.

${table(['number', 'name', 'retry', 'HTTP', 'what it means and what to do'], rows)}`
}

function retryName(row: ErrorRow): string {
  if (row.retry === RETRY_REPAIR) return 'repair'
  return row.retry === RETRY_LATER ? 'later' : 'never'
}

function disconnectsSection(): string {
  const rows = Object.entries(disconnects).map(([name, row]) => [code(name), row.reconnect, row.about])
  return `## Disconnects

Why the broker ends a connection: the label of its counter and the reason in its log line.

${table(['reason', 'connect again', 'what happened'], rows)}`
}

function limitsSection(): string {
  const rows = Object.entries(limitTable).map(([name, row]) => [code(name), grouped(row.value), row.about])
  return `## Limits

The unit is the end of the name. A limit is the last value that is allowed.

${table(['limit', 'default', 'what it bounds'], rows)}`
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return `${[line(titles), line(titles.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}

function code(text: string): string {
  return `\`${text}\``
}

function grouped(value: number): string {
  return value.toLocaleString('en-US')
}
