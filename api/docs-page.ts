/**
 * The API for readers: the OpenAPI document at /docs/json, and a page made of it at /docs that loads nothing from
 * anywhere.
 */
import type { App } from './app.ts'

interface Schema {
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly const?: unknown
  readonly description?: string
}
interface Operation {
  readonly summary?: string
  readonly description?: string
  readonly tags?: readonly string[]
  readonly security?: readonly Readonly<Record<string, unknown>>[]
  readonly requestBody?: { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }
  readonly responses?: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }>
  >
}
interface Document {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly tags?: readonly { readonly name: string; readonly description?: string }[]
  readonly paths?: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const DEPTH_MAX = 4
const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}section{margin:1.2rem 0}
code,pre{font:14px/1.5 ui-monospace,monospace}
pre{background:#f6f8fa;padding:.6rem;overflow-x:auto}.method{display:inline-block;min-width:4.5rem;font-weight:700}
.who{color:#57606a}@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre{background:#161b22}}`

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escaped = (text: string): string => text.replace(/[&<>"']/g, (char) => ENTITIES[char] as string)

/** A schema in one line: `{ phone: string, name?: string }`. */
function shapeOf(schema: Schema | undefined, depth = 0): string {
  if (schema === undefined || depth > DEPTH_MAX) return '…'
  if (schema.anyOf !== undefined) return schema.anyOf.map((each) => shapeOf(each, depth)).join(' | ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.items !== undefined) return `[${shapeOf(schema.items, depth + 1)}]`
  if (schema.properties === undefined) return schema.type === 'object' ? '{}' : String(schema.type ?? 'any')
  const names = Object.entries(schema.properties).map(([name, each]) => {
    const mark = schema.required?.includes(name) === true ? '' : '?'
    return `${name}${mark}: ${shapeOf(each, depth + 1)}`
  })
  return names.length === 0 ? '{}' : `{ ${names.join(', ')} }`
}

const schemaIn = (content: Readonly<Record<string, { readonly schema?: Schema }>> | undefined): Schema | undefined =>
  Object.values(content ?? {})[0]?.schema

function operationPart(method: string, path: string, operation: Operation): string {
  const { summary = '', description = '', security = [], requestBody, responses = {} } = operation
  const who = security.flatMap((each) => Object.keys(each)).join(' or ')
  const body = schemaIn(requestBody?.content)
  const lines = [
    ...(body === undefined ? [] : [`body  ${shapeOf(body)}`]),
    ...Object.entries(responses).map(([status, { content }]) => {
      const answer = schemaIn(content)
      return /^[45]/.test(status)
        ? `${status}   a problem`
        : `${status}   ${answer === undefined ? '' : shapeOf(answer)}`
    }),
  ]
  return `<section><code><span class="method">${escaped(method.toUpperCase())}</span>${escaped(path)}</code>
<span class="who">${who === '' ? '' : `· ${escaped(who)} token`}</span><br>${escaped(summary)}
${description === '' ? '' : `<br>${escaped(description)}`}<pre>${escaped(lines.join('\n'))}</pre></section>`
}

/** The whole page as HTML. */
export function docsPage(document: Document): string {
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  )
  const parts = (document.tags ?? []).map(({ name, description = '' }) => {
    const own = operations.filter(({ operation }) => operation.tags?.includes(name) === true)
    const list = own.map(({ method, path, operation }) => operationPart(method, path, operation)).join('\n')
    return `<h2>${escaped(name)}</h2><p>${escaped(description)}</p>${list}`
  })
  const { title, version, description = '' } = document.info
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escaped(title)} API</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>${escaped(title)} ${escaped(version)}</h1><p>${escaped(description)} The same for programs: <a href="/docs/json">
OpenAPI</a>.</p>${parts.join('\n')}</body></html>`
}

/** /docs for people, /docs/json for programs. */
export function docsRoutes(app: App): void {
  app.get('/docs', { schema: { summary: 'This document, for people', tags: ['health'] } }, (_request, reply) =>
    reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .send(docsPage(app.swagger() as unknown as Document)),
  )
  app.get('/docs/json', { schema: { summary: 'This document', tags: ['health'] } }, () => app.swagger())
}
