/** What a small Cassandra node is told: its settings, its logging and the flags of its JVM. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/**
 * `periodic` is Cassandra's default: it acknowledges what a SIGKILL of the node within 100 ms, or a power failure within
 * 10 s, takes away from this node; the promise then rests on the other replicas. `batch` acknowledges after fsync.
 */
export type CommitLogSync = 'periodic' | 'batch'

export interface CassandraNode {
  /** 1, 2 or 3; it lives on 127.0.0.1, 127.0.0.2 or 127.0.0.3. */
  readonly number: number
  readonly nodes: 1 | 3
  readonly folder: string
  readonly cqlPort: number
  readonly storagePort: number
  readonly heapMib: number
  readonly isFast: boolean
  readonly sync: CommitLogSync
}

export const addressOf = (number: number): string => `127.0.0.${number}`

/** Even tokens on a fixed ring: no allocation, no bootstrap, the same layout in every run. */
const tokens = {
  1: ['0'],
  3: ['-9223372036854775808', '-3074457345618258603', '3074457345618258602'],
} as const

export function yamlOf({ number, nodes, cqlPort, storagePort, sync }: CassandraNode): string {
  return `cluster_name: heliograph-test
num_tokens: 1
initial_token: "${tokens[nodes][number - 1]}"
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch # one data centre, named datacenter1
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{ seeds: "${addressOf(1)}:${storagePort}" }]
listen_address: ${addressOf(number)}
rpc_address: ${addressOf(number)}
storage_port: ${storagePort}
native_transport_port: ${cqlPort}
start_native_transport: true
native_transport_max_threads: 16
storage_compatibility_mode: NONE
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
# small
memtable_heap_space: 48MiB
memtable_offheap_space: 48MiB
memtable_allocation_type: heap_buffers
memtable_flush_writers: 1
concurrent_reads: 4
concurrent_writes: 8
concurrent_counter_writes: 2
concurrent_compactors: 1
compaction_throughput: 0MiB/s
key_cache_size: 4MiB
counter_cache_size: 1MiB
row_cache_size: 0MiB
prepared_statements_cache_size: 4MiB
file_cache_enabled: false
networking_cache_size: 8MiB
column_index_cache_size: 2KiB
commitlog_sync: ${sync}${sync === 'periodic' ? '\ncommitlog_sync_period: 10000ms' : ''}
commitlog_segment_size: 8MiB # the largest mutation is half of it
commitlog_total_space: 64MiB
commitlog_disk_access_mode: legacy
cdc_enabled: false
# quick to drop and truncate
auto_snapshot: false
snapshot_before_compaction: false
incremental_backups: false
hinted_handoff_enabled: true
# a busy machine of two cores must not look like a dead replica
read_request_timeout: 20s
range_request_timeout: 30s
write_request_timeout: 20s
counter_write_request_timeout: 20s
cas_contention_timeout: 20s
truncate_request_timeout: 60s
request_timeout: 30s
slow_query_log_timeout: 2s
phi_convict_threshold: 12
dynamic_snitch: false
disk_failure_policy: die
commit_failure_policy: die
`
}

/** To stdout, which is the log of the node. */
export const logback = `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %d{HH:mm:ss.SSS} %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
`

/** Those of conf/jvm17-server.options, and what 5.0.8 was seen to ask for besides. */
const exported = [
  ...['java.base/jdk.internal.misc', 'java.base/jdk.internal.ref', 'java.base/sun.nio.ch', 'java.base/java.lang.ref'],
  ...['java.management.rmi/com.sun.jmx.remote.internal.rmi', 'java.rmi/sun.rmi.registry', 'java.rmi/sun.rmi.server'],
  ...['java.sql/java.sql', 'jdk.unsupported/sun.misc', 'jdk.compiler/com.sun.tools.javac.file'],
  'jdk.attach/sun.tools.attach',
]
const opened = [
  ...['java.io', 'java.lang', 'java.lang.module', 'java.lang.reflect', 'java.nio', 'java.util'],
  ...['java.util.concurrent', 'java.util.concurrent.atomic', 'jdk.internal.loader', 'jdk.internal.math'],
  ...['jdk.internal.module', 'jdk.internal.ref', 'jdk.internal.reflect', 'jdk.internal.util.jar', 'sun.nio.ch'],
].map((name) => `java.base/${name}`)
const openedBeside = ['jdk.compiler/com.sun.tools.javac', 'jdk.management/com.sun.management.internal']

/**
 * Not `cassandra.test.flush_local_schema_changes=false`, quick as it makes a change of the schema: a node that is killed then
 * comes back without its tables, and throws away what its commit log has for them.
 */
export function javaArgs(node: CassandraNode, lib: string): string[] {
  const { folder, heapMib, nodes, isFast } = node
  const jamm = readdirSync(lib).find((name) => /^jamm-.*\.jar$/.test(name)) ?? 'jamm.jar'
  const properties = {
    'jdk.attach.allowAttachSelf': true,
    'java.net.preferIPv4Stack': true,
    // Native libraries are unpacked here; it goes with the node.
    'java.io.tmpdir': join(folder, 'tmp'),
    'io.netty.tryReflectionSetAccessible': true,
    'io.netty.allocator.useCacheForAllThreads': true,
    'io.netty.allocator.numHeapArenas': 1,
    'io.netty.allocator.numDirectArenas': 1,
    'io.netty.eventLoopThreads': 2,
    'cassandra-foreground': 'yes',
    'cassandra.storagedir': folder,
    'cassandra.logdir': folder,
    'cassandra.config': pathToFileURL(join(folder, 'cassandra.yaml')),
    'cassandra.triggers_dir': join(folder, 'triggers'),
    'logback.configurationFile': pathToFileURL(join(folder, 'logback.xml')),
    'cassandra.superuser_setup_delay_ms': 0,
    'cassandra.load_ring_state': false,
    // How long a node looks for its peers, too: those do not see at once that it was killed and is back.
    'cassandra.ring_delay_ms': nodes === 1 ? 2_000 : 15_000,
    'cassandra.schema_delay_ms': 1_000,
    // One of three that skips the wait may answer before it knows its peers.
    ...(nodes === 1
      ? { 'cassandra.skip_wait_for_gossip_to_settle': 0 }
      : { 'cassandra.gossip_settle_min_wait_ms': 500, 'cassandra.gossip_settle_interval_ms': 250 }),
  }
  return [
    ...exported.map((name) => `--add-exports=${name}=ALL-UNNAMED`),
    ...[...opened, ...openedBeside].map((name) => `--add-opens=${name}=ALL-UNNAMED`),
    `-javaagent:${join(lib, jamm)}`,
    ...[`-Xms${heapMib}m`, `-Xmx${heapMib}m`, '-Xss512k', '-XX:+UseSerialGC', '-XX:MaxDirectMemorySize=256m'],
    ...['-XX:+ExitOnOutOfMemoryError', '-XX:-UsePerfData', '-XX:+UseThreadPriorities'],
    ...(isFast ? ['-XX:TieredStopAtLevel=1', '-Xshare:auto'] : []),
    ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
    ...['-cp', join(lib, '*'), 'org.apache.cassandra.service.CassandraDaemon'],
  ]
}
