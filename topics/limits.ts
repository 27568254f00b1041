/**
 * Every limit in one table: unit in the name, default, and what it bounds. The relations between them are asserted
 * when this file is loaded, so a contradiction is found at start and not in the night. A limit is the last value that
 * is allowed.
 */

interface Limit {
  readonly value: number
  readonly about: string
}

const KIB = 1024
const MIB = 1024 * KIB
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

function limit(value: number, about: string): Limit {
  return { value, about }
}

/** The table: name → default and meaning. `limits` has the plain numbers. */
export const limitTable = {
  // Frames and what is inside them.
  frameBeforeConnectBytesMax: limit(4 * KIB, 'MQTT packet before CONNECT is accepted, fixed header included.'),
  frameBytesMax: limit(132 * KIB, 'MQTT packet after CONNECT, fixed header included.'),
  envelopeBytesMax: limit(128 * KIB, 'SendRequest.'),
  rawBytesMax: limit(64 * KIB, 'Payload of a raw topic.'),
  contentBytesMax: limit(96 * KIB, 'Content inside a ciphertext, before padding.'),
  nowBytesMax: limit(4 * KIB, 'Now, the QoS 0 message.'),
  willBytesMax: limit(256, 'Payload of a last will.'),
  operatorBytesMax: limit(16 * KIB, 'JSON payload of a presence or operator topic.'),
  topicBytesMax: limit(256, 'Topic or topic filter as UTF-8.'),
  topicLevelsMax: limit(16, 'Levels of a topic or topic filter.'),
  deviceIdCharsMax: limit(12, 'Device id.'),
  handleCharsMin: limit(3, 'Shortest handle.'),
  handleCharsMax: limit(32, 'Longest handle.'),
  tokenBytesMax: limit(128, 'Password of CONNECT, the token of the device.'),
  filtersPerSubscribeMax: limit(8, 'Filters of one SUBSCRIBE or UNSUBSCRIBE.'),

  // Connecting.
  connectTimeoutMs: limit(5_000, 'From the accepted socket to a whole CONNECT.'),
  authenticateTimeoutMs: limit(5_000, 'For the directory to say who a token belongs to.'),
  proxyHeaderBytesMax: limit(1_024, 'PROXY header of a load balancer, its fixed part included.'),
  handshakesPerAddressMax: limit(256, 'Connections of one address between accept and CONNACK.'),
  handshakesMax: limit(4_096, 'Connections of a node between accept and an open inbox, TLS included.'),
  openingsMax: limit(512, 'Of these, those for which stores are asked at one time; the others wait for their turn.'),
  connectionsPerAddressMax: limit(16_384, 'Connections of one address.'),
  connectionsMax: limit(100_000, 'Connections of a node.'),
  connectsPerDevicePerMinuteMax: limit(
    600,
    'CONNECTs of one device; beyond, it is flapping. A loop of mosquitto_pub is not.',
  ),
  flappingBanMs: limit(MINUTE_MS, 'How long a flapping device is refused.'),
  keepaliveSMax: limit(1_200, 'Keepalive of CONNECT; 0 is refused.'),
  drainTimeoutMs: limit(15_000, 'From SIGTERM to the end of the process.'),
  drainSliceConnectionsMax: limit(100, 'Connections that a stopping node ends at one time.'),
  drainSliceEveryMs: limit(50, 'Mean time from one such slice to the next; half of it to one and a half.'),
  revokeDelayMsMax: limit(5_000, 'From a revocation to the end of the live connection.'),

  // One connection.
  windowRows: limit(100, 'Rows written to a connection and not acknowledged, by default.'),
  windowRowsMax: limit(1_024, 'Rows written to a connection and not acknowledged, at most.'),
  packetIdSlots: limit(63, 'Slots of packet ids, of windowRowsMax ids each.'),
  refusedHoldMs: limit(
    5_000,
    'How long a thing is kept waiting after a temporary refusal, before its connection ends.',
  ),
  ackTimeoutMs: limit(60_000, 'A full window without PUBACK for so long ends the connection.'),
  heldBytesPerConnectionMax: limit(256 * KIB, 'PUBLISHes read ahead of their append, of one connection.'),
  heldBytesPerNodeMax: limit(128 * MIB, 'PUBLISHes read ahead of their append, of all connections.'),
  socketBufferBytesMax: limit(1 * MIB, 'Bytes that the kernel did not take from us; beyond, the reader is slow.'),
  slowReaderTimeoutMs: limit(20_000, 'How long a socket may take nothing while bytes wait for it.'),
  controlPacketsPer10SMax: limit(200, 'SUBSCRIBE, UNSUBSCRIBE and PINGREQ of one connection in 10 s.'),
  unknownPubacksPer10SMax: limit(1_024, 'PUBACKs for ids outside the window, of one connection in 10 s.'),
  clientPublishesMax: limit(64, 'PUBLISHes without PUBACK that the SDK keeps; servers bear more.'),

  // The intake.
  waitingRecordsMax: limit(1_024, 'Request records that wait for one device to acknowledge them.'),
  afterSeqAheadMsMax: limit(60_000, 'How far after_seq may be in front of the clock of the store.'),

  // The inbox.
  inboxRowsMax: limit(200_000, 'Rows of one inbox; beyond, the device is full.'),
  inboxTtlMs: limit(30 * DAY_MS, 'How long a row waits for its device.'),
  pageRowsMax: limit(1_024, 'Rows of one read of an inbox.'),
  pageBytesMax: limit(1 * MIB, 'Bytes of one read of an inbox.'),
  receiptLingerMs: limit(500, 'How long a receipt waits for others to share its frame.'),
  receiptLingerRecordsMax: limit(16, 'Waiting records that end the linger at once.'),
  expiresInSMax: limit((30 * DAY_MS) / 1_000, 'SendRequest.expires_in_s; 0 means the same.'),
  callExpiresInSMax: limit(60, 'SendRequest.expires_in_s of URGENCY_CALL.'),

  // The stores.
  tailRowsMax: limit(200_000, 'Rows of the append-ordered table, which is scanned at start.'),
  diskFreeBytesMin: limit(256 * MIB, 'Free space below which the intake refuses.'),
  diskReserveBytes: limit(64 * MIB, 'File that is given back when the disk is full.'),

  // Lists in requests.
  devicesPerUserMax: limit(127, 'Devices of one user: libsignal numbers them 1..127.'),
  devicesPerRequestMax: limit(2_048, 'Entries of a device list in one SendRequest.'),
  receiptsPerRequestMax: limit(256, 'Receipts of one SendRequest.'),
  seqsPerListMax: limit(256, 'Entries of Receipt.played or Withdraw.seqs.'),
  syncRowsMax: limit(50, 'Sync.limit.'),
  watchUsersMax: limit(200, 'Users of one presence watch.'),
  linkedDevicesMax: limit(5, 'Linked devices of a person, beside the primary one.'),
  deviceNameBytesMax: limit(225, 'Sealed name of a device.'),

  // Registering.
  codeDigits: limit(6, 'Digits of a code.'),
  codeTtlMs: limit(10 * MINUTE_MS, 'How long a code is good.'),
  codeTriesMax: limit(5, 'Tries of one code.'),
  codeResendMs: limit(30_000, 'From one code to the next for one number.'),
  smsTimeoutMs: limit(8_000, 'For the provider to take a text message; then it has failed.'),
  codesPerNumberPerHourMax: limit(5, 'Codes sent to one number in an hour.'),
  codesPerAddressPerHourMax: limit(100, 'Codes asked for by one address in an hour.'),
  codesPerMinuteMax: limit(600, 'Codes sent by the service in a minute.'),
  codeTriesPerAddressPerHourMax: limit(300, 'Codes tried by one address in an hour.'),
  phoneCharsMax: limit(32, 'A phone number as it is typed.'),
  linkTtlMs: limit(10 * MINUTE_MS, 'How long a link of a new device is good.'),
  linkBytesMax: limit(4 * KIB, 'Sealed message of a link.'),
  linksOpenMax: limit(10_000, 'Links that are open at one time; the oldest goes.'),
  linksPerAddressPerHourMax: limit(60, 'Links opened by one address in an hour.'),
  idempotencyKeyCharsMax: limit(64, 'Idempotency-Key of a write.'),
  idempotencyTtlMs: limit(DAY_MS, 'How long the answer to a write is kept under its key.'),
  idempotencyAnswersMax: limit(20_000, 'Answers that are kept; the oldest goes.'),
  lookupsPerDevicePerHourMax: limit(300, 'Handles looked up by one device in an hour.'),

  // Prekeys.
  oneTimePrekeysMax: limit(100, 'One-time prekeys of one kind and device.'),
  prekeysLow: limit(20, 'Below so many one-time prekeys of a kind the device is told.'),
  keyUploadsPerDevicePerHourMax: limit(60, 'Uploads of prekeys by one device in an hour: each is verified and stored.'),
  bundleUsersPerRequestMax: limit(100, 'Users of one batch of prekey bundles.'),
  bundlesPerPairBurst: limit(
    6,
    'Bundles of one device taken by another at once; one more every bundlesPerPairEveryMs.',
  ),
  bundlesPerPairEveryMs: limit(10 * MINUTE_MS, 'From one bundle of a device to the next, for one taker.'),
  bundlesPerTargetPerHourMax: limit(
    200,
    'One-time prekeys of one device spent in an hour; beyond, the last-resort key.',
  ),
  bundlesPerTakerPerDayMax: limit(2_000, 'Bundles taken by one device in a day.'),

  provisionPerRequestMax: limit(1_000, 'Devices made by one call of the admin API.'),
} as const satisfies Record<string, Limit>

export type LimitName = keyof typeof limitTable

/** The plain numbers, frozen. */
export const limits = Object.freeze(
  Object.fromEntries(Object.entries(limitTable).map(([name, row]) => [name, row.value])),
) as { readonly [name in LimitName]: number }

/** MQTT counts its remaining length in at most four bytes of seven bits (2.2.3). */
const MQTT_REMAINING_BYTES_MAX = 268_435_455
/** Padding, ratchet and keys of a first message around one Content, and the SendRequest: measured 2,100. */
const AROUND_CONTENT_BYTES_MAX = 4 * KIB
/** Fixed header, topic length and packet id of a PUBLISH. */
const PUBLISH_HEAD_BYTES_MAX = 9

/** Throws when two limits contradict each other. Each line says what would go wrong. */
export function assertRelations(of: { readonly [name in LimitName]: number }): void {
  const relations: readonly (readonly [boolean, string])[] = [
    [of.frameBeforeConnectBytesMax < of.frameBytesMax, 'who is not known gets less than who is'],
    [of.frameBytesMax <= MQTT_REMAINING_BYTES_MAX, 'MQTT cannot say a longer frame'],
    [
      of.envelopeBytesMax + of.topicBytesMax + PUBLISH_HEAD_BYTES_MAX <= of.frameBytesMax,
      'the largest envelope fits into a frame',
    ],
    [of.rawBytesMax <= of.envelopeBytesMax, 'raw bytes fit into a RawMessage'],
    [of.contentBytesMax + AROUND_CONTENT_BYTES_MAX <= of.envelopeBytesMax, 'the largest content reaches one device'],
    [of.willBytesMax + of.topicBytesMax < of.frameBeforeConnectBytesMax, 'a will fits into CONNECT'],
    [of.tokenBytesMax < of.frameBeforeConnectBytesMax, 'a token fits into CONNECT'],
    [of.handleCharsMin >= 1 && of.handleCharsMin <= of.handleCharsMax, 'some handle exists'],
    [of.handshakesPerAddressMax <= of.handshakesMax, 'one address cannot have more than all'],
    [of.openingsMax <= of.handshakesMax, 'who is asked for has a place'],
    [of.connectionsPerAddressMax <= of.connectionsMax, 'one address cannot have more than all'],
    [of.windowRows <= of.windowRowsMax, 'the default window is allowed'],
    [of.windowRowsMax * of.packetIdSlots <= 65_535, 'packet ids have 16 bits and 0 is not one'],
    [of.heldBytesPerConnectionMax >= of.frameBytesMax, 'one whole frame can be held'],
    [of.heldBytesPerConnectionMax <= of.heldBytesPerNodeMax, 'one connection cannot hold more than all'],
    [of.socketBufferBytesMax > of.frameBytesMax, 'one frame does not make a reader slow'],
    [of.receiptLingerRecordsMax <= of.waitingRecordsMax, 'the linger ends before records are full'],
    [of.clientPublishesMax <= of.waitingRecordsMax, 'a client within its own bound is never refused'],
    [of.watchUsersMax * 18 + 4 <= of.nowBytesMax, 'the longest watch fits into a Now'],
    [of.pageRowsMax <= of.windowRowsMax, 'a page fits into the window'],
    [of.pageBytesMax >= of.frameBytesMax, 'a page has room for one row'],
    [of.diskReserveBytes < of.diskFreeBytesMin, 'the reserve is smaller than what ends the intake'],
    [of.expiresInSMax * 1_000 === of.inboxTtlMs, 'expires_in_s and the inbox end together'],
    [of.callExpiresInSMax <= of.expiresInSMax, 'a call ends before a message'],
    [of.inboxTtlMs >= DAY_MS, 'a phone may be off for a day'],
    [of.smsTimeoutMs < of.codeResendMs, 'a text message has failed before the next one may be asked for'],
  ]
  for (const [holds, meaning] of relations) {
    if (!holds) throw new RangeError(`limits contradict each other: ${meaning}`)
  }
  for (const [name, value] of Object.entries(of)) {
    if (!Number.isSafeInteger(value) || value <= 0) throw new RangeError(`limit ${name} is not a positive integer`)
  }
}

assertRelations(limits)
