/**
 * Why the broker ends a connection. MQTT 3.1.1 has no DISCONNECT from the server, so a reason is a CONNACK code at
 * most; it is the label of the counter and stands in the log line. `reconnect` says what a client does that knows the
 * reason.
 */

export interface DisconnectRow {
  /** now: at once; later: with backoff and jitter; never: a person has to change something first. */
  readonly reconnect: 'now' | 'later' | 'never'
  readonly about: string
}

function row(reconnect: DisconnectRow['reconnect'], about: string): DisconnectRow {
  return { reconnect, about }
}

/** The catalogue: name → row. Names are metric labels and do not change their meaning. */
export const disconnects = {
  // Before the device is known.
  bad_proxy_header: row('never', 'PROXY_PROTOCOL=yes, and no PROXY header of version 2, a wrong one, or one too long.'),
  connect_timeout: row('later', 'No whole CONNECT, or PROXY header, within the time allowed.'),
  not_connect: row('never', 'The first packet was not CONNECT.'),
  protocol_version: row('never', 'Not MQTT 3.1.1; CONNACK 1.'),
  bad_client_id: row('never', 'Client id empty, not a device id, or not the user name; CONNACK 2.'),
  bad_will: row('never', 'A will for a foreign topic, retained, not of QoS 1, or too large; CONNACK 5.'),
  bad_keepalive: row('never', 'Keepalive 0 or above the limit; CONNACK 5.'),
  bad_credentials: row('never', 'Token wrong, unknown or revoked; CONNACK 4.'),
  authenticate_timeout: row('later', 'The directory did not answer in time; CONNACK 3.'),
  flapping: row('later', 'Too many CONNECTs of this device in a minute; CONNACK 5 until the ban ends.'),
  too_many_connections: row('later', 'The node has as many connections as it can hold; CONNACK 3, none over TLS.'),
  too_many_handshakes: row('later', 'Too many connections of the node, or of one address, are being made.'),
  too_many_of_address: row('later', 'Too many connections of one address.'),
  // What the device sent.
  frame_too_large: row('never', 'A packet is longer than the limit of its time.'),
  malformed_packet: row('never', 'Bytes that are no MQTT packet, or one that a client may not send.'),
  second_connect: row('never', 'A second CONNECT on one connection.'),
  bad_utf8: row(
    'never',
    'A text in a packet is not UTF-8, has a NUL or a byte order mark, or is not in normal form C.',
  ),
  bad_packet_id: row('never', 'Packet id 0, or one that is already in use.'),
  bad_subscribe: row(
    'never',
    'A SUBSCRIBE or UNSUBSCRIBE without a filter, with too many, or with a filter of bad form.',
  ),
  bad_topic: row('never', 'A PUBLISH with an empty topic, a wildcard in it, or more bytes or levels than allowed.'),
  foreign_topic: row('never', 'A PUBLISH to a topic that is not the own device, or not for its kind.'),
  bad_qos: row('never', 'A PUBLISH whose QoS is not that of its topic.'),
  qos2: row('never', 'A PUBLISH with QoS 2.'),
  retain: row('never', 'A PUBLISH with the retain flag.'),
  malformed_payload: row('never', 'A payload that cannot be read and has no stamp to answer it by.'),
  flood: row('later', 'More control packets, or acknowledgements of nothing, than a client ever needs.'),
  // How the connection went.
  keepalive_timeout: row('now', 'Nothing was heard for one and a half keepalives.'),
  slow_reader: row('later', 'The device does not read what is sent to it.'),
  no_puback: row('later', 'A full window without PUBACK for too long.'),
  takeover: row('never', 'The same device connected again; the newer connection stays.'),
  revoked: row('never', 'The device was revoked.'),
  // What the server cannot do now.
  overloaded: row('later', 'The node holds more than it can; the newest connections go first.'),
  append_failed: row('later', 'The store refused; nothing that waits for PUBACK was stored. Resend.'),
  storage_unavailable: row('later', 'The inbox or the directory could not be read.'),
  shutting_down: row('later', 'The server is stopping; what waits for PUBACK is to be resent.'),
  // The other side.
  client_disconnect: row('later', 'DISCONNECT: the device went by itself.'),
  client_closed: row('later', 'The socket ended without DISCONNECT.'),
  socket_error: row('now', 'The socket failed.'),
  websocket_protocol: row('never', 'WebSocket without subprotocol mqtt, a text message, or a foreign origin.'),
} as const satisfies Record<string, DisconnectRow>

export type DisconnectReason = keyof typeof disconnects

export function isDisconnectReason(name: string): name is DisconnectReason {
  return Object.hasOwn(disconnects, name)
}
