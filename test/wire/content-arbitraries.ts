/** Contents of every kind, for property tests. A key is left out where the value would be 0, false or empty. */
import fc from 'fast-check'
import { bytes, id, record, some, uint32, uint64 } from './arbitraries.ts'

/** Texts of one to four bytes a character, with what a careless codec loses: NUL, a byte order mark, line ends. */
const text = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 90 }),
  fc.constantFrom('\ufeffbom', '\0', 'a\r\nb', '👩‍👩‍👧', 'ß', '0'),
)
/** Not +0, which is left out; all else is written, minus zero too. */
const double = fc.double().filter((value) => !Object.is(value, 0))
const yes = fc.constant(true)
const list = <T>(entry: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(entry, { minLength: 1, maxLength: 3 })

const ref = record({ id: some(id), author: some(id) })
const attachment = record({
  object: some(text),
  key: some(bytes(64, 64)),
  digest: some(bytes(32, 32)),
  size: some(uint64),
  mediaType: some(text),
  name: some(text),
  caption: some(text),
  thumbnail: some(bytes(1, 300)),
  width: some(uint32),
  height: some(uint32),
  durationMs: some(uint32),
  waveform: some(bytes(1, 40)),
  chunkMacs: some(bytes(1, 64)),
  chunkSize: some(uint32),
})
const span = record({ start: some(uint32), length: some(uint32), style: some(uint32), mention: some(id) })
const post = record({
  text: some(text),
  spans: some(list(span)),
  reply: some(record({ to: some(ref), seq: some(uint64), text: some(text), thumbnail: some(attachment) })),
  attachments: some(list(attachment)),
  location: some(record({ latitude: some(double), longitude: some(double), name: some(text), liveForS: some(uint32) })),
  // An empty entry of a list of texts is an entry.
  contacts: some(
    list(record({ name: some(text), phones: some(list(fc.oneof(text, fc.constant('')))), user: some(id) })),
  ),
  forwarded: some(uint32),
  viewOnce: some(yes),
  story: some(yes),
  dataType: some(text),
  data: some(bytes(1, 300)),
})
const call = record({
  id: some(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n })),
  step: some(uint32),
  sdp: some(bytes(1, 300)),
  key: some(bytes(32, 32)),
  ice: some(list(bytes(0, 40))),
  video: some(yes),
  seconds: some(uint32),
})
const historyMessage = record({
  content: some(bytes(1, 300)),
  group: some(id),
  peer: some(id),
  author: some(id),
  seq: some(uint64),
  sentMs: some(uint64),
  status: some(uint32),
})

const kinds: { readonly [kind: string]: fc.Arbitrary<unknown> } = {
  post,
  edit: record({ id: some(id), post: some(post) }),
  delete: ref,
  reaction: record({ to: some(ref), emoji: some(text), undo: some(yes) }),
  call,
  syncRead: record({ conversation: some(id), upTo: some(uint64), readMs: some(uint64) }),
  history: attachment,
  syncState: attachment,
  groupState: record({
    name: some(text),
    about: some(text),
    picture: some(attachment),
    secret: some(bytes(32, 32)),
    timerS: some(uint32),
  }),
  timer: fc.constant({}),
  heal: fc.constant({}),
  historyPiece: record({ index: some(uint32), count: some(uint32), messages: some(list(historyMessage)) }),
  devicesChanged: record({
    added: some(list(fc.oneof(fc.constant(0), uint32))),
    removed: some(list(fc.oneof(fc.constant(0), uint32))),
  }),
}

/** Any Content, with a kind or without one. */
export const content = fc
  .tuple(
    fc.constantFrom('', ...Object.keys(kinds)).chain((kind) => {
      const member = kinds[kind]
      return member === undefined ? fc.constant({}) : fc.record({ [kind]: member })
    }),
    record({
      id: some(id),
      conversation: some(id),
      epoch: some(uint64),
      logHash: some(bytes(16, 16)),
      timerS: some(uint32),
      timerVersion: some(uint32),
      senderKeyDistribution: some(bytes(1, 120)),
      decryptionError: some(bytes(1, 60)),
      needs: some(uint32),
      profileKey: some(bytes(32, 32)),
      resendOf: some(uint64),
    }),
  )
  .map(([kind, rest]) => ({ ...kind, ...rest }))
