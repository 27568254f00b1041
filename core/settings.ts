/** The table of settings: environment variable, type, default and meaning of each. config.ts reads it. */
import { limits } from '../topics/limits.ts'

export type SettingType = 'port' | 'text' | 'flag' | 'count' | 'whole' | 'secret'
export interface SettingRow {
  readonly env: string
  readonly type: SettingType
  /** '' means unset. */
  readonly fallback: string
  readonly about: string
}

export const settingRows = {
  dataDir: {
    env: 'DATA_DIR',
    type: 'text',
    fallback: 'data',
    about: 'Folder of the database, the secrets and the reserve file.',
  },
  mqttHost: { env: 'MQTT_HOST', type: 'text', fallback: '127.0.0.1', about: 'Address of the plain MQTT listener.' },
  mqttPort: {
    env: 'MQTT_PORT',
    type: 'port',
    fallback: '1883',
    about: 'Port of the plain MQTT listener; 0 takes a free one.',
  },
  mqttPlaintext: {
    env: 'MQTT_ALLOW_PLAINTEXT_ON_NETWORK',
    type: 'flag',
    fallback: 'no',
    about: 'yes: plain MQTT and HTTP may listen on an address that is not loopback.',
  },
  mqttsHost: { env: 'MQTTS_HOST', type: 'text', fallback: '0.0.0.0', about: 'Address of the MQTT over TLS listener.' },
  mqttsPort: {
    env: 'MQTTS_PORT',
    type: 'port',
    fallback: '8883',
    about: 'Port of MQTT over TLS, when TLS_CERT is set.',
  },
  proxyProtocol: {
    env: 'PROXY_PROTOCOL',
    type: 'flag',
    fallback: 'no',
    about:
      'yes: MQTT connections, also over TLS, begin with a PROXY header (version 2). Only a trusted balancer may ' +
      'reach these ports then: whoever does says any address.',
  },
  tlsCert: {
    env: 'TLS_CERT',
    type: 'text',
    fallback: '',
    about: 'Certificate chain (PEM file); read again on SIGHUP.',
  },
  tlsKey: { env: 'TLS_KEY', type: 'text', fallback: '', about: 'Private key (PEM file); read again on SIGHUP.' },
  httpHost: {
    env: 'HTTP_HOST',
    type: 'text',
    fallback: '127.0.0.1',
    about: 'Address of HTTP and of MQTT over WebSocket.',
  },
  httpPort: {
    env: 'HTTP_PORT',
    type: 'port',
    fallback: '8080',
    about: 'Port of HTTP and of MQTT over WebSocket (/v1/ws).',
  },
  httpProxyProtocol: {
    env: 'HTTP_PROXY_PROTOCOL',
    type: 'flag',
    fallback: 'no',
    about: 'The same for HTTP and MQTT over WebSocket: probes and scrapers have to go through the balancer, too.',
  },
  httpOrigins: {
    env: 'HTTP_ORIGINS',
    type: 'text',
    fallback: '',
    about: 'Origins of web pages that may open /v1/ws, separated by commas; none by default.',
  },
  adminToken: {
    env: 'ADMIN_TOKEN',
    type: 'secret',
    fallback: '',
    about: 'Token of the admin API; made at first start when unset.',
  },
  observerPassword: {
    env: 'OBSERVER_PASSWORD',
    type: 'secret',
    fallback: '',
    about: 'Password of the login `observer`; made at first start when unset.',
  },
  phoneKey: {
    env: 'PHONE_KEY',
    type: 'secret',
    fallback: '',
    about: 'Key under which phone numbers are hashed; made at first start when unset. Without it no number is known.',
  },
  publicUrl: {
    env: 'PUBLIC_URL',
    type: 'text',
    fallback: '',
    about: 'How clients reach HTTP, like https://chat.example.org; HTTP_HOST and HTTP_PORT when unset.',
  },
  codesPerMinuteMax: {
    env: 'CODES_PER_MINUTE_MAX',
    type: 'count',
    fallback: String(limits.codesPerMinuteMax),
    about: 'Codes sent to phones in a minute.',
  },
  codesPerAddressPerHourMax: {
    env: 'CODES_PER_ADDRESS_PER_HOUR_MAX',
    type: 'count',
    fallback: String(limits.codesPerAddressPerHourMax),
    about: 'Codes asked for by one address in an hour.',
  },
  codeTriesPerAddressPerHourMax: {
    env: 'CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX',
    type: 'count',
    fallback: String(limits.codeTriesPerAddressPerHourMax),
    about: 'Codes and link tokens tried by one address in an hour.',
  },
  linksPerAddressPerHourMax: {
    env: 'LINKS_PER_ADDRESS_PER_HOUR_MAX',
    type: 'count',
    fallback: String(limits.linksPerAddressPerHourMax),
    about: 'Links of new devices opened by one address in an hour.',
  },
  logLevel: { env: 'LOG_LEVEL', type: 'text', fallback: 'info', about: 'fatal, error, warn, info, debug or silent.' },
  windowRows: {
    env: 'WINDOW_ROWS',
    type: 'count',
    fallback: String(limits.windowRows),
    about: 'Rows written to a connection and not acknowledged.',
  },
  inboxRowsMax: {
    env: 'INBOX_ROWS_MAX',
    type: 'count',
    fallback: String(limits.inboxRowsMax),
    about: 'Rows that wait for one device; beyond, it is full and its senders are told.',
  },
  diskFreeMibMin: {
    env: 'DISK_FREE_MIB_MIN',
    type: 'count',
    fallback: String(limits.diskFreeBytesMin / 1024 / 1024),
    about: 'Free space in MiB below which new messages are refused.',
  },
  diskReserveMib: {
    env: 'DISK_RESERVE_MIB',
    type: 'count',
    fallback: String(limits.diskReserveBytes / 1024 / 1024),
    about: 'Size in MiB of the file that is given back when the disk is full.',
  },
  connectionsMax: {
    env: 'CONNECTIONS_MAX',
    type: 'count',
    fallback: String(limits.connectionsMax),
    about: 'Connections of this process.',
  },
  connectionsPerAddressMax: {
    env: 'CONNECTIONS_PER_ADDRESS_MAX',
    type: 'count',
    fallback: String(limits.connectionsPerAddressMax),
    about: 'Connections of one address.',
  },
  handshakesMax: {
    env: 'HANDSHAKES_MAX',
    type: 'count',
    fallback: String(limits.handshakesMax),
    about: 'Connections of this process between accept and an open inbox; beyond, they are closed and come again.',
  },
  handshakesPerAddressMax: {
    env: 'HANDSHAKES_PER_ADDRESS_MAX',
    type: 'count',
    fallback: String(limits.handshakesPerAddressMax),
    about: 'Connections of one address between accept and CONNACK.',
  },
  drainTimeoutMs: {
    env: 'DRAIN_TIMEOUT_MS',
    type: 'count',
    fallback: String(limits.drainTimeoutMs),
    about: 'From SIGTERM to the end of the process; give the supervisor some seconds more.',
  },
  drainSliceConnectionsMax: {
    env: 'DRAIN_SLICE_CONNECTIONS_MAX',
    type: 'count',
    fallback: String(limits.drainSliceConnectionsMax),
    about: 'Connections that end at one time when this process stops.',
  },
  redisUrl: {
    env: 'REDIS_URL',
    type: 'secret',
    fallback: '',
    about:
      'redis://host:port of the cluster profile, appendonly yes and appendfsync always. Unset: the embedded profile.',
  },
  redisReplicasMin: {
    env: 'REDIS_REPLICAS_MIN',
    type: 'whole',
    fallback: '0',
    about: 'Replicas of Redis whose disks have a message as well before PUBACK; needs Redis 7.2 or Valkey. 0: none.',
  },
  redisPrefix: {
    env: 'REDIS_PREFIX',
    type: 'text',
    fallback: 'hg:',
    about: 'Keys of Redis begin with it: two deployments may share a server.',
  },
  databaseUrl: {
    env: 'DATABASE_URL',
    type: 'secret',
    fallback: '',
    about: 'postgres://user:password@host:port/name of the cluster profile.',
  },
  databaseMayForget: {
    env: 'DATABASE_MAY_FORGET',
    type: 'flag',
    fallback: 'no',
    about:
      'yes: also a PostgreSQL with fsync or synchronous_commit off, whose last accounts go when its machine stops.',
  },
  cassandraContactPoints: {
    env: 'CASSANDRA_CONTACT_POINTS',
    type: 'text',
    fallback: '',
    about: 'host:port of nodes of Cassandra, separated by commas: the inboxes of the cluster profile.',
  },
  cassandraLocalDataCenter: {
    env: 'CASSANDRA_LOCAL_DATA_CENTER',
    type: 'text',
    fallback: 'datacenter1',
    about: 'Data center of Cassandra that this process talks to.',
  },
  cassandraKeyspace: {
    env: 'CASSANDRA_KEYSPACE',
    type: 'text',
    fallback: 'heliograph',
    about: 'Keyspace of Cassandra; it is made when it is not there.',
  },
  cassandraMigrate: {
    env: 'CASSANDRA_MIGRATE',
    type: 'flag',
    fallback: 'yes',
    about: 'no: tables are not made or changed at start, which is refused when they are not as needed.',
  },
  cassandraReplicas: {
    env: 'CASSANDRA_REPLICAS',
    type: 'count',
    fallback: '3',
    about: 'Copies of a row in Cassandra: 3, or 1 where one node is all there is.',
  },
  shards: {
    env: 'INTAKE_SHARDS',
    type: 'count',
    fallback: '8',
    about: 'Shards of the intake of the cluster profile; fixed at the first start.',
  },
  shardBacklogMax: {
    env: 'INTAKE_SHARD_BACKLOG_MAX',
    type: 'count',
    fallback: '20000',
    about:
      'Batches of one shard that wait in Redis to become rows, as while Cassandra is away; beyond, it takes nothing.',
  },
  workersInline: {
    env: 'WORKERS_INLINE',
    type: 'flag',
    fallback: 'yes',
    about: 'no: this broker takes no turns of the cluster profile and works on no queue; `npm run worker` does.',
  },
  nodeName: { env: 'NODE_NAME', type: 'text', fallback: 'one', about: 'Name of this process under ops/node/.' },
} as const satisfies Record<string, SettingRow>
