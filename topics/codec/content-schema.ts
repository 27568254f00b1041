/**
 * Content, what is inside the ciphertext, as field tables. A test compares them with wire.proto. Content is read
 * leniently, so no list has a bound here: the bytes of a Content are bounded.
 */
import { many, one, schema, top } from './schema.ts'

const ref = schema('Ref', { id: [1, 'id'], author: [2, 'id'] })
const attachment = schema('Attachment', {
  object: [1, 'string'],
  key: [2, 'bytes'],
  digest: [3, 'bytes'],
  size: [4, 'uint64'],
  mediaType: [5, 'string'],
  name: [6, 'string'],
  caption: [7, 'string'],
  thumbnail: [8, 'bytes'],
  width: [9, 'uint32'],
  height: [10, 'uint32'],
  durationMs: [11, 'uint32'],
  waveform: [12, 'bytes'],
  chunkMacs: [13, 'bytes'],
  chunkSize: [14, 'uint32'],
})
const span = schema('Span', {
  start: [1, 'uint32'],
  length: [2, 'uint32'],
  style: [3, 'uint32'],
  mention: [4, 'id'],
})
const quote = schema('Quote', {
  to: [1, one(ref)],
  seq: [2, 'uint64'],
  text: [3, 'string'],
  thumbnail: [4, one(attachment)],
})
const location = schema('Location', {
  latitude: [1, 'double'],
  longitude: [2, 'double'],
  name: [3, 'string'],
  liveForS: [4, 'uint32'],
})
const contact = schema('Contact', { name: [1, 'string'], phones: [2, 'strings'], user: [3, 'id'] })
const post = schema('Post', {
  text: [1, 'string'],
  spans: [2, many(span)],
  reply: [3, one(quote)],
  attachments: [4, many(attachment)],
  location: [5, one(location)],
  contacts: [6, many(contact)],
  forwarded: [7, 'uint32'],
  viewOnce: [8, 'bool'],
  story: [9, 'bool'],
  dataType: [10, 'string'],
  data: [11, 'bytes'],
})
const edit = schema('Edit', { id: [1, 'id'], post: [2, one(post)] })
const reaction = schema('Reaction', { to: [1, one(ref)], emoji: [2, 'string'], undo: [3, 'bool'] })
const call = schema('Call', {
  id: [1, 'fixed64'],
  step: [2, 'uint32'],
  sdp: [3, 'bytes'],
  key: [4, 'bytes'],
  ice: [5, 'bytesList'],
  video: [6, 'bool'],
  seconds: [7, 'uint32'],
})
const syncRead = schema('SyncRead', { conversation: [1, 'id'], upTo: [2, 'uint64'], readMs: [3, 'uint64'] })
const groupState = schema('GroupState', {
  name: [1, 'string'],
  about: [2, 'string'],
  picture: [3, one(attachment)],
  secret: [4, 'bytes'],
  timerS: [5, 'uint32'],
})
const historyMessage = schema('HistoryMessage', {
  content: [1, 'bytes'],
  group: [2, 'id'],
  peer: [3, 'id'],
  author: [4, 'id'],
  seq: [5, 'uint64'],
  sentMs: [6, 'uint64'],
  status: [7, 'uint32'],
})
const historyPiece = schema('HistoryPiece', {
  index: [1, 'uint32'],
  count: [2, 'uint32'],
  messages: [3, many(historyMessage)],
})
const devicesChanged = schema('DevicesChanged', { added: [1, 'uint32s'], removed: [2, 'uint32s'] })

export const content = top(
  schema(
    'Content',
    {
      id: [1, 'id'],
      conversation: [2, 'id'],
      epoch: [3, 'uint64'],
      logHash: [4, 'bytes'],
      timerS: [5, 'uint32'],
      timerVersion: [6, 'uint32'],
      senderKeyDistribution: [7, 'bytes'],
      decryptionError: [8, 'bytes'],
      needs: [9, 'uint32'],
      profileKey: [10, 'bytes'],
      resendOf: [11, 'uint64'],
    },
    'kind',
    {
      post: [12, one(post)],
      edit: [13, one(edit)],
      delete: [14, one(ref)],
      reaction: [15, one(reaction)],
      call: [16, one(call)],
      syncRead: [17, one(syncRead)],
      history: [18, one(attachment)],
      syncState: [19, one(attachment)],
      groupState: [20, one(groupState)],
      timer: [21, one(schema('Timer', {}))],
      heal: [22, one(schema('Heal', {}))],
      historyPiece: [23, one(historyPiece)],
      devicesChanged: [24, one(devicesChanged)],
    },
  ),
)
