/**
 * Golden bytes of what is inside the ciphertext, without padding, in the form of `golden.json`.
 * `node test/wire/golden-content.ts` writes golden-content.json; it changes only when the content format does.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Content, encodeContent, type Fields } from '../../topics/codec.ts'
import { pairConversation } from '../../topics/ids.ts'
import { type Golden, goldenOf, id, peer, SEQ, STAMP, text } from './golden.ts'

const me = id(0x40, 4)
const conversation = pairConversation(me, peer)
/** A UUIDv7 of STAMP's millisecond. */
const messageId = (last: number): Uint8Array => {
  const bytes = id(0x70, 7)
  bytes.set(Buffer.from(STAMP.toString(16).padStart(12, '0'), 'hex'))
  bytes[15] = last
  return bytes
}
const ref = { id: messageId(1), author: peer }
const attachment = {
  object: 'q7f3k2',
  key: new Uint8Array(64).fill(0xaa),
  digest: new Uint8Array(32).fill(0xbb),
  size: 123_456,
  mediaType: 'image/jpeg',
}
const named = { id: messageId(2), conversation }
const timed = { ...named, timerS: 86_400, timerVersion: 3 }

const contents: Readonly<Record<string, Fields<Content>>> = {
  text: { ...named, post: { text: 'Grüße 👋' } },
  'text with a mention, bold, in reply, disappearing after a day': {
    ...timed,
    post: {
      text: '@lena is here',
      spans: [
        { start: 0, length: 5, mention: peer },
        { start: 9, length: 4, style: 1 },
      ],
      reply: { to: ref, seq: SEQ, text: 'Where is she?' },
    },
  },
  'picture with a caption': {
    ...named,
    profileKey: new Uint8Array(32).fill(0xcc),
    post: {
      attachments: [
        { ...attachment, name: 'a.jpg', caption: 'Look', thumbnail: text('thumbnail'), width: 4_000, height: 3_000 },
      ],
      viewOnce: true,
    },
  },
  'voice note, forwarded': {
    ...named,
    post: {
      attachments: [{ ...attachment, mediaType: 'audio/ogg', durationMs: 4_200, waveform: Uint8Array.of(0, 9, 31) }],
      forwarded: 2,
    },
  },
  'place and contact': {
    ...named,
    post: {
      location: { latitude: 52.520008, longitude: -13.404954, name: 'Here', liveForS: 900 },
      contacts: [{ name: 'Lena', phones: ['+4915112345678', '+4930123456'], user: peer }],
    },
  },
  'data of a bot in a story': { ...named, post: { story: true, dataType: 'application/json', data: text('{}') } },
  edit: { ...named, edit: { id: messageId(1), post: { text: 'better' } } },
  deletion: { ...named, delete: ref },
  reaction: { ...named, reaction: { to: ref, emoji: '❤️' } },
  'reaction taken back': { ...named, reaction: { to: ref, emoji: '❤️', undo: true } },
  'call offer': {
    ...named,
    call: { id: 0xfedcba9876543210n, step: 1, sdp: text('v=0'), key: text('key of the call'), video: true },
  },
  'call candidates': { ...named, call: { id: 1n, step: 3, ice: [text('a'), text('b')] } },
  'call record': { ...named, call: { id: 1n, step: 6, seconds: 61 } },
  'read elsewhere': { ...named, syncRead: { conversation, upTo: SEQ, readMs: STAMP } },
  'history archive': { ...named, history: attachment },
  'state of the account': { ...named, syncState: attachment },
  'group for a newcomer': {
    ...named,
    epoch: 7,
    logHash: new Uint8Array(16).fill(0xdd),
    groupState: { name: 'Boat', about: 'Sundays', picture: attachment, secret: new Uint8Array(32).fill(0xee) },
  },
  'sender key alone': { ...named, senderKeyDistribution: text('distribution') },
  'timer off': { ...named, timerVersion: 4, timer: {} },
  'session renewed': { ...named, heal: {} },
  'resend of a text': { ...named, resendOf: SEQ, post: { text: 'again' } },
  'from a newer version': { ...named, needs: 2 },
  'piece of the history': {
    ...named,
    historyPiece: {
      index: 1,
      count: 3,
      messages: [
        {
          content: encodeContent({ id: messageId(1), post: { text: 'old' } }),
          peer,
          author: peer,
          seq: SEQ,
          sentMs: STAMP,
        },
        { content: encodeContent(named), peer, author: me, seq: SEQ + 1, sentMs: STAMP, status: 3 },
      ],
    },
  },
  'devices added and removed': { ...named, devicesChanged: { added: [3], removed: [2, 127] } },
}

export function contentGoldens(): readonly Golden[] {
  return goldenOf('Content', contents, encodeContent)
}

export const contentGoldenFile = new URL('golden-content.json', import.meta.url)

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(contentGoldenFile, `${JSON.stringify(contentGoldens(), undefined, 2)}\n`)
}
