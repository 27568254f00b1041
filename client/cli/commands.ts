/** What one types: a line to the one one talks with, or a command. */
import type { Client } from '../index.ts'
import { counted, digitLines } from './screen.ts'
import { printQr } from './session.ts'
import type { Terminal } from './terminal.ts'
import type { View } from './view.ts'

export interface Chat {
  readonly client: Client
  readonly terminal: Terminal
  readonly view: View
}

interface Command {
  readonly usage: string
  readonly about: string
  run(chat: Chat, words: readonly string[]): Promise<void> | void
}

const HISTORY = 20
const HISTORY_MAX = 500
const UNREAD_SHOWN = 10
const USAGE_COLUMNS = 20

/** The user named by a word, or the one one talks with. Undefined, and said so, when there is neither. */
async function userOf({ client, view }: Chat, word: string | undefined): Promise<string | undefined> {
  // Who wrote first and has no name here goes by the beginning of the id.
  const nameless = client.conversations().find(({ peer }) => view.nameOf(peer) === word)
  if (word !== undefined) return nameless?.peer ?? client.findUser(word)
  if (view.peer !== '') return view.peer
  view.say('Say with whom, like /to bob.')
  return undefined
}

async function talkTo(chat: Chat, word: string | undefined): Promise<void> {
  const { client, view } = chat
  const user = await userOf(chat, word)
  if (user === undefined) return
  view.peer = user
  view.say(`You talk with ${view.nameOf(user)}.`)
  const unread = client.conversations().find(({ peer }) => peer === user)?.unread ?? 0
  for (const message of unread === 0 ? [] : client.messages(user, { limit: Math.max(unread, UNREAD_SHOWN) })) {
    view.show(message)
  }
  if (unread > 0) await client.markRead(user)
}

async function verify(chat: Chat, [word, answer]: readonly string[]): Promise<void> {
  const { client, view, terminal } = chat
  const user = await userOf(chat, word)
  if (user === undefined) return
  const name = view.nameOf(user)
  const number = client.safetyNumber(user)
  if (number === undefined) return view.say(`Nothing was said with ${name} yet, so there is nothing to compare.`)
  if (answer === 'ok' || answer === 'no') {
    await client.setVerified(user, answer === 'ok')
    return view.say(answer === 'ok' ? `${name} is verified.` : `${name} is not verified any more.`)
  }
  view.say(`${name} is ${number.isVerified ? '' : 'not '}verified. Both of you have to see the same digits:`)
  terminal.printRaw(digitLines(number.digits).join('\n'))
  await printQr(terminal, number.qr)
  view.say(`Compare them by voice or in person, then /verify ${name} ok.`)
}

async function listDevices({ client, view }: Chat): Promise<void> {
  for (const { device, number, created, isPrimary, isCurrent } of await client.devices()) {
    const marks = [...(isPrimary ? ['first device'] : []), ...(isCurrent ? ['this one'] : [])]
    view.say(`  #${number}  ${device}  since ${created}${marks.length === 0 ? '' : `  (${marks.join(', ')})`}`)
  }
}

async function removeDevice({ client, view }: Chat, [word = '']: readonly string[]): Promise<void> {
  const found = (await client.devices()).find(
    ({ device, number }) => device === word || `${number}` === word.replace('#', ''),
  )
  if (found === undefined) return view.say('Say which device; /devices lists them.')
  await client.removeDevice(found.device)
  view.say(`Device #${found.number} was removed.`)
}

async function reset({ client, view, terminal }: Chat): Promise<void> {
  view.warn('This ends all other devices of your account, and all who know you are warned of a new identity.')
  if (!terminal.isRich) view.say('Type yes to do it:')
  if ((await terminal.ask('Type yes to do it: '))?.trim() !== 'yes') return view.say('Nothing was changed.')
  const { number } = await client.resetIdentity()
  view.say(`You have a new identity; this is device #${number}.`)
}

function listConversations({ client, view }: Chat): void {
  const all = client.conversations()
  if (all.length === 0) view.say('No conversations yet; begin one with /to NAME.')
  for (const { peer, unread } of all) {
    const mark = peer === view.peer ? '*' : ' '
    const verified = client.safetyNumber(peer)?.isVerified === true ? ', verified' : ''
    view.say(`${mark} ${view.nameOf(peer)}: ${unread} unread${verified}`)
  }
}

async function history(chat: Chat, [word = String(HISTORY)]: readonly string[]): Promise<void> {
  const { client, view } = chat
  if (!/^[1-9]\d{0,3}$/.test(word)) return view.say('Say how many, like /history 50.')
  const user = await userOf(chat, undefined)
  if (user === undefined) return
  const messages = client.messages(user, { limit: Math.min(Number(word), HISTORY_MAX) })
  if (messages.length === 0) view.say(`Nothing was said with ${view.nameOf(user)} yet.`)
  for (const message of messages) view.show(message)
}

const commands: Record<string, Command> = {
  to: { usage: '/to NAME', about: 'talk with NAME', run: (chat, [name]) => talkTo(chat, name) },
  who: { usage: '/who', about: 'conversations, and how much is unread', run: listConversations },
  history: { usage: '/history [N]', about: `the last N messages, ${HISTORY} without N`, run: history },
  verify: {
    usage: '/verify NAME [ok]',
    about: 'digits to compare with NAME; ok: they are the same',
    run: verify,
  },
  approve: {
    usage: '/approve NAME',
    about: 'go on after the identity of NAME changed',
    async run(chat, [name]) {
      const user = await userOf(chat, name)
      if (user === undefined) return
      await chat.client.approveIdentity(user)
      chat.view.say(`The identity of ${chat.view.nameOf(user)} is approved; what was held is sent.`)
    },
  },
  devices: { usage: '/devices', about: 'the devices of your account', run: listDevices },
  remove: { usage: '/remove DEVICE', about: 'take a device out of your account', run: removeDevice },
  link: {
    usage: '/link URI',
    about: 'take a device in: the URI that it shows',
    async run({ client, view }, [uri]) {
      if (uri === undefined) return view.say('Say which device: the URI that npm run chat -- --link shows.')
      await client.acceptLink(uri)
      view.say('The device belongs to your account now.')
    },
  },
  lost: { usage: '/lost', about: 'a device was lost: begin with a new identity', run: reset },
  help: {
    usage: '/help',
    about: 'this list',
    run({ view }) {
      for (const { usage, about } of Object.values(commands)) view.say(`  ${usage.padEnd(USAGE_COLUMNS)}${about}`)
      view.say(`  ${'/quit'.padEnd(USAGE_COLUMNS)}end; what waits is sent the next time`)
      view.say('Every other line is a message; // begins one that begins with /.')
    },
  },
}

/** Begins the conversation that --to names, or says how to begin one. */
export async function begin(chat: Chat, to: string | undefined): Promise<void> {
  const { client, view } = chat
  const unread = client.conversations().filter((each) => each.unread > 0)
  for (const each of unread) view.say(`${view.nameOf(each.peer)}: ${counted(each.unread, 'unread message')}.`)
  if (to !== undefined) await attempt(chat, () => talkTo(chat, to))
}

/** What cannot be done is a sentence, not the end. */
async function attempt({ view }: Chat, work: () => Promise<void> | void): Promise<void> {
  try {
    await work()
  } catch (error) {
    view.warn((error as Error).message)
  }
}

async function send({ client, view }: Chat, text: string): Promise<void> {
  if (view.peer === '') return view.say('Say with whom, like /to bob.')
  view.showOwn(await client.send(view.peer, text))
}

/** Does what a line says. False: it says to end. */
export async function take(chat: Chat, line: string): Promise<boolean> {
  const text = line.trim()
  if (text === '') return true
  if (!text.startsWith('/') || text.startsWith('//')) {
    await attempt(chat, () => send(chat, text.replace(/^\/\//, '/')))
    return true
  }
  const { terminal, view } = chat
  if (terminal.isRich) view.say(terminal.style('dim', text))
  const [name = '', ...words] = text.slice(1).split(/\s+/)
  if (name === 'quit') return false
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command === undefined) view.say(`There is no /${name}; /help lists what there is.`)
  else await attempt(chat, () => command.run(chat, words))
  return true
}
