/**
 * Valkey 8, which can wait for its replicas' disks (WAITAOF) where Debian 12's Redis 7.0 cannot: the machine's own, or
 * Debian's package from bookworm-backports, unpacked once into a cache. What it links with comes with redis-server.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { findValkey, MissingRuntime } from './runtimes.ts'

const VERSION = '8.0.1+dfsg1-1~bpo12+1'
/** The second has what the first no longer has. */
const MIRRORS = ['http://deb.debian.org/debian', 'http://archive.debian.org/debian']
const SHA256 = 'd2c2ea67642fa9571a07138b80ae52ebe566311c952aef25a39c1d5050697853'
/** The server is in here, under another name. */
const PACKAGE = `pool/main/v/valkey/valkey-tools_${VERSION}_amd64.deb`
const PROGRAM = join('usr', 'bin', 'valkey-check-rdb')
const SERVER = 'valkey-server'
const FETCH_MS_MAX = 60_000

/** `VALKEY_CACHE`, or a folder in the user's cache. */
function cacheFolder(): string {
  const { VALKEY_CACHE, XDG_CACHE_HOME } = process.env
  return VALKEY_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'heliograph', `valkey-${VERSION}`)
}

async function fetchPackage(): Promise<Buffer> {
  const failures: string[] = []
  for (const mirror of MIRRORS) {
    try {
      const response = await fetch(`${mirror}/${PACKAGE}`, { signal: AbortSignal.timeout(FETCH_MS_MAX) })
      const bytes = Buffer.from(await response.arrayBuffer())
      const sum = createHash('sha256').update(bytes).digest('hex')
      if (response.status === 200 && sum === SHA256) return bytes
      failures.push(`${mirror} answers ${response.status} with SHA-256 ${sum}`)
    } catch (error) {
      failures.push(`${mirror}: ${(error as Error).message}`)
    }
  }
  throw new Error(`Valkey could not be fetched: ${failures.join('; ')}`)
}

/** It appears in one step: a fetch that was cut off, or two at once, leave a whole server or none. */
async function unpackInto(server: string): Promise<void> {
  const unfinished = `${dirname(server)}.${process.pid}`
  mkdirSync(unfinished, { recursive: true })
  try {
    const file = join(unfinished, 'valkey.deb')
    writeFileSync(file, await fetchPackage())
    const { status, stderr } = spawnSync('dpkg-deb', ['-x', file, unfinished], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`dpkg-deb ended with ${status}: ${stderr}`)
    mkdirSync(dirname(server), { recursive: true })
    // What it is called is what it is: under this name it is the server.
    renameSync(join(unfinished, PROGRAM), server)
  } finally {
    rmSync(unfinished, { recursive: true, force: true })
  }
}

/** Resolves with the program. Rejects, with what to install, where there is none for this machine. */
export async function valkeyServer(): Promise<string> {
  const own = findValkey()
  if (own !== undefined) return own
  const server = join(cacheFolder(), SERVER)
  if (existsSync(server)) return server
  if (process.arch !== 'x64' || process.platform !== 'linux') {
    throw new MissingRuntime('Valkey needs valkey-server, of 8.0 or later: Debian 13 has it')
  }
  await unpackInto(server)
  return server
}
