/** The chat from its options to its end. */
import { flushCompileCache } from 'node:module'
import { setTimeout as delay } from 'node:timers/promises'
import { begin, type Chat, take } from './commands.ts'
import { HELP, OptionFault, type Options, readOptions, StartFault } from './options.ts'
import { clean, counted } from './screen.ts'
import { openTerminal } from './terminal.ts'

const EXIT_START = 1
const EXIT_USAGE = 2
const EXIT_INTERRUPTED = 130
const EMPTY_MS_MAX = 5_000
const LOOK_EVERY_MS = 20

/** No more lines come: what waits may still leave, for a while. */
async function emptyOutbox({ client, view }: Chat): Promise<void> {
  const untilMs = performance.now() + EMPTY_MS_MAX
  while (client.waiting() > 0 && performance.now() < untilMs) await delay(LOOK_EVERY_MS)
  view.refresh()
  const left = client.waiting()
  if (left > 0) view.say(`${counted(left, 'message')} not sent yet; that is done the next time.`)
}

async function talk(chat: Chat, to: string | undefined): Promise<void> {
  const { terminal, view } = chat
  await begin(chat, to)
  for (;;) {
    const line = await terminal.ask(`${view.peer === '' ? '' : view.nameOf(view.peer)}> `)
    if (line === undefined) return emptyOutbox(chat)
    if (!(await take(chat, line))) return
  }
}

async function chatAs(options: Options): Promise<void> {
  // The parts that need long to load come after what is quickly refused.
  const [{ beSomebody, openFolder }, { openClient }] = await Promise.all([
    import('./session.ts'),
    import('../index.ts'),
  ])
  const { createView } = await import('./view.ts')
  const opened = await openFolder(options, openClient)
  const { client } = opened
  const terminal = openTerminal()
  try {
    const { handle, number } = await beSomebody(opened, options, terminal)
    const view = createView(client, terminal)
    view.say(
      `You are ${handle === '' ? options.name : handle}, device #${number}. /help lists the commands, /quit ends.`,
    )
    view.followOld()
    client.connect()
    setImmediate(flushCompileCache)
    await talk({ client, terminal, view }, options.to)
    view.end()
  } finally {
    terminal.close()
    await client.close()
  }
}

/** A sentence for what was foreseen; where a mistake of the program is, for the rest. */
function fail(error: Error): never {
  const isForeseen = error instanceof OptionFault || error instanceof StartFault || 'code' in error
  process.stderr.write(`${isForeseen ? clean(error.message) : (error.stack ?? error.message)}\n`)
  process.exit(error instanceof OptionFault ? EXIT_USAGE : EXIT_START)
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), process.env)
  if (options === 'help') return void process.stdout.write(HELP)
  await chatAs(options)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(EXIT_INTERRUPTED))
// The reader of the output went away.
process.stdout.on('error', () => process.exit(EXIT_START))
main().then(() => process.exit(0), fail)
