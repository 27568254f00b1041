/** What happens, on the screen: messages, the ticks of own ones, and what one has to be warned of. */
import type { Client, Message, MessageStatus } from '../index.ts'
import { brief, clean, counted, ownLine, receivedLine } from './screen.ts'
import type { Printed, Terminal } from './terminal.ts'

const REFRESH_AFTER_MS = 25
const LOOK_BACK = 50
const LOOK_BACK_MAX = 1_000
const FOLLOWED_MAX = 2_000
const ID_CHARS_SHOWN = 8
const SENTENCE_CHARS_MAX = 300

export interface View {
  /** The user one talks with; '' for nobody yet. */
  peer: string
  nameOf(user: string): string
  say(text: string): void
  warn(text: string): void
  /** Shows an own message and follows its ticks. */
  showOwn(message: Message): void
  /** Shows any message; own ones are followed. */
  show(message: Message): void
  /** Follows what was sent in earlier runs. */
  followOld(): void
  /** Shows ticks that changed, now. */
  refresh(): void
  /** Stops listening. */
  end(): void
}

interface Followed {
  readonly peer: string
  status: MessageStatus
  printed: Printed | undefined
}

const isSettled = (status: MessageStatus): boolean => status === 'read' || status === 'failed'

/** Own messages whose ticks still change, and how they are shown anew. */
function createTicks(client: Client, terminal: Terminal, nameOf: (user: string) => string) {
  const followed = new Map<string, Followed>()
  const blue = terminal.hasColours ? (text: string) => terminal.style('blue', text) : undefined
  const lineOf = (message: Message) => ownLine(message, nameOf(message.peer), blue)

  function follow(message: Message, printed: Printed | undefined): void {
    if (isSettled(message.status)) return
    followed.set(message.id, { peer: message.peer, status: message.status, printed })
    const [oldest] = followed.keys()
    if (followed.size > FOLLOWED_MAX && oldest !== undefined) followed.delete(oldest)
  }

  function refresh(peer: string): void {
    const count = followed.values().reduce((sum, each) => sum + (each.peer === peer ? 1 : 0), 0)
    if (count === 0) return
    for (const message of client.messages(peer, { limit: Math.min(count + LOOK_BACK, LOOK_BACK_MAX) })) {
      const known = followed.get(message.id)
      if (known === undefined || known.status === message.status) continue
      known.status = message.status
      known.printed = terminal.reprint(known.printed, lineOf(message))
      if (isSettled(message.status)) followed.delete(message.id)
    }
  }
  return { follow, refresh, lineOf }
}

export function createView(client: Client, terminal: Terminal): View {
  const changed = new Set<string>()
  const strangers = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  const nameOf = (user: string) => clean(client.handleOf(user)) || user.slice(0, ID_CHARS_SHOWN)
  const ticks = createTicks(client, terminal, nameOf)
  const view: View = {
    peer: '',
    nameOf,
    say: (text) => void terminal.print(text),
    warn: (text) => void terminal.print(terminal.style('yellow', `! ${text}`)),
    showOwn: (message) => ticks.follow(message, terminal.print(ticks.lineOf(message))),
    show(message) {
      if (message.isOwn) view.showOwn(message)
      else terminal.print(receivedLine(message, terminal.style('bold', nameOf(message.author))))
    },
    followOld() {
      for (const { peer } of client.conversations()) {
        for (const message of client.messages(peer, { limit: LOOK_BACK })) {
          if (message.isOwn) ticks.follow(message, undefined)
        }
      }
    },
    refresh() {
      clearTimeout(timer)
      timer = undefined
      for (const peer of changed) ticks.refresh(peer)
      changed.clear()
    },
    end() {
      clearTimeout(timer)
      for (const stop of stops) stop()
    },
  }
  /** Messages that wait for the name of whom one talks with. */
  let asked: Promise<void> | undefined
  const receive = (message: Message) => {
    view.show(message)
    if (message.peer === view.peer && !message.isOwn) client.markRead(message.peer).catch(() => undefined)
  }
  const stops = [
    client.on('status', ({ peer }) => {
      changed.add(peer)
      // A burst of marks is one look at the conversation.
      timer ??= setTimeout(view.refresh, REFRESH_AFTER_MS)
    }),
    client.on('message', (message) => {
      const { peer } = message
      const isStranger = client.handleOf(peer) === '' && !strangers.has(peer)
      if (!isStranger && asked === undefined) return receive(message)
      strangers.add(peer)
      // What comes meanwhile waits its turn, so that the order stays.
      const answered = (asked ?? Promise.resolve())
        .then(() => (isStranger ? client.learnHandle(peer) : ''))
        .catch(() => '')
        .then(() => {
          if (asked === answered) asked = undefined
          receive(message)
          if (isStranger && client.handleOf(peer) === '') {
            view.say(`${nameOf(peer)} has no name here yet; /to ${nameOf(peer)} answers.`)
          }
        })
      asked = answered
    }),
    ...listenToWarnings(client, view),
  ]
  return view
}

function listenToWarnings(client: Client, view: View): (() => void)[] {
  const { nameOf, say, warn } = view
  let isAway = false
  const numbers = (each: readonly number[]) => each.map((n) => `#${n}`).join(', ')
  return [
    client.on('online', () => {
      say('Online.')
      isAway = false
    }),
    client.on('offline', ({ reason, text }) => {
      if (reason === 'unauthorized') say('Offline: the server does not let this device in.')
      else if (reason === 'taken_over') {
        warn(brief(text, SENTENCE_CHARS_MAX))
      } else if (!isAway) {
        // Said once, not at every try.
        say(`Offline: ${brief(text, SENTENCE_CHARS_MAX)} What you write is kept and sent later.`)
      }
      isAway = true
    }),
    client.on('identityChanged', ({ user }) => {
      const name = nameOf(user)
      warn(
        `The identity of ${name} has changed: a new phone, or somebody in between. Messages to ${name} are held; ` +
          `compare /verify ${name} with them, then /approve ${name}.`,
      )
    }),
    client.on('devicesChanged', ({ user, added: all, removed }) => {
      const me = client.me()
      const isOwn = user === me?.user
      const whose = isOwn ? 'Your own devices' : `The devices of ${nameOf(user)}`
      // A new device is no news to itself.
      const added = isOwn ? all.filter((number) => number !== me.number) : all
      if (added.length + removed.length === 0) return
      const what = [
        ...(added.length === 0 ? [] : [`new: ${numbers(added)}`]),
        ...(removed.length === 0 ? [] : [`gone: ${numbers(removed)}`]),
      ]
      warn(`${whose} changed: ${what.join('; ')}.`)
    }),
    client.on('unreadable', ({ peer }) =>
      warn(`A message in ${nameOf(peer)} could not be read; it was asked for again.`),
    ),
    client.on('gap', ({ count }) => warn(`About ${counted(count, 'message')} could not be kept for this device.`)),
    client.on('revoked', () =>
      warn('This device was removed from its account. What is here can be read; register in another folder.'),
    ),
    client.on('keysWithheld', ({ user }) =>
      warn(
        `${nameOf(user)} began to write without a one-time key, though the server should have some of yours: it may ` +
          'keep them back. What was said can be read later by who takes this device.',
      ),
    ),
    client.on('fault', ({ text }) => warn(brief(text, SENTENCE_CHARS_MAX))),
  ]
}
