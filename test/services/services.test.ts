import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { whenInstalled } from '../clients/programs.ts'
import { startPostgres } from './postgres.ts'
import { end, identify, isAlive, type Known, kill, pause, resume } from './process.ts'
import { startRedis } from './redis.ts'
import { findJava, findMaven, findPostgres, findRedis, MissingRuntime, postgresUser } from './runtimes.ts'
import { readState } from './state.ts'
import { askPostgres, askRedis, type Conversation, converse, logInToPostgres } from './wire.ts'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))

function isThere(find: () => unknown): boolean {
  try {
    find()
    return true
  } catch (error) {
    if (error instanceof MissingRuntime) return false
    throw error
  }
}

/** Many processes start here, on a machine that may have much else to do. */
const TEST_MS_MAX = 60_000

const hasRedis = isThere(findRedis)
const hasPostgres = isThere(() => [findPostgres(), postgresUser()])

function program(args: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
  return { status, stdout, stderr }
}

/** Talks to what listens there, and hangs up. */
async function talking<T>(port: number, about: (talk: Conversation) => Promise<T>): Promise<T> {
  const talk = await converse('127.0.0.1', port)
  try {
    return await about(talk)
  } finally {
    talk.end()
  }
}

const redis = (port: number, ...words: readonly string[]) => talking(port, (talk) => askRedis(talk, ...words))
const postgres = (port: number, sql: string) =>
  talking(port, async (talk) => {
    await logInToPostgres(talk)
    return askPostgres(talk, sql)
  })

/** A folder for a test, which a user PostgreSQL may enter. */
function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-test-'))
  spawnSync('chmod', ['711', folder])
  return folder
}

/** Whether the segment that a PostgreSQL in this folder has noted is there. */
function hasSharedMemory(lockFile: string): boolean {
  const id = lockFile.split('\n')[6]?.trim().split(/\s+/)[1]
  assert.ok(id, lockFile)
  return spawnSync('ipcs', ['-m', '-i', id], { encoding: 'utf8' }).stdout.includes('nattch')
}

describe('a process of a service', () => {
  const started: ChildProcess[] = []
  after(() => {
    for (const child of started) child.kill('SIGKILL')
  })

  /** A process that says when it runs, and lives until it is ended. */
  async function startSleeper(code = ''): Promise<Known> {
    const script = `${code}; console.log('runs'); setInterval(() => 0, 1000)`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
    started.push(child)
    await once(child.stdout, 'data')
    return identify(child.pid as number) as Known
  }

  it('is left in peace when its pid is that of another birth', async () => {
    const stranger = await startSleeper()
    const older = { ...stranger, born: `${stranger.born}0` }
    assert.equal(isAlive(older), false)
    await kill(older)
    await end(older, 'SIGTERM', 0)
    assert.equal(isAlive(stranger), true)
  })

  it('is killed when it does not end in the time that it has', async () => {
    const stubborn = await startSleeper("process.on('SIGTERM', () => 0)")
    await end(stubborn, 'SIGTERM', 100)
    assert.equal(isAlive(stubborn), false)
  })

  it('ends when it is paused, and goes with the processes that it has made', async () => {
    const parent = await startSleeper(
      "require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => 0, 1000)'])",
    )
    const [, child] = pause(parent)
    assert.ok(child !== undefined)
    assert.deepEqual([isAlive(parent), isAlive(child)], [true, true])
    await end(parent, 'SIGTERM', 5_000)
    assert.deepEqual([isAlive(parent), isAlive(child)], [false, false])
    resume(parent)
  })
})

describe('a program that is missing', () => {
  const nowhere = { path: '', javaHome: undefined, jvmFolder: '/nowhere', postgresFolder: '/nowhere' }

  it('is one line that says what to install, and exit code 1', () => {
    const state = join(tmpdir(), `heliograph-no-state-${process.pid}`)
    assert.deepEqual(program(['up', 'redis', '--state', state], { PATH: '' }), {
      status: 1,
      stdout: '',
      stderr: 'Redis needs redis-server: apt-get install redis-server\n',
    })
    assert.equal(existsSync(state), false)
  })

  it('is called by its Debian package, for each of them', () => {
    const sentences: [find: () => unknown, sentence: string][] = [
      [() => findRedis(nowhere), 'Redis needs redis-server: apt-get install redis-server'],
      [() => findPostgres(nowhere), 'PostgreSQL needs its server: apt-get install postgresql'],
      [() => findJava(nowhere), 'Cassandra needs JDK 17: apt-get install openjdk-17-jdk-headless'],
      [() => findMaven(nowhere), 'Cassandra needs Maven to fetch it: apt-get install maven'],
    ]
    for (const [find, message] of sentences)
      assert.throws(find, (error) => error instanceof MissingRuntime && error.message === message)
  })

  it('is a Java of another version too, and 17 is found in the folder of Debian', () => {
    const folder = makeFolder()
    const install = (name: string, version: string): string => {
      const bin = join(folder, name, 'bin')
      mkdirSync(bin, { recursive: true })
      writeFileSync(join(bin, 'java'), `#!/bin/sh\necho 'openjdk version "${version}"' >&2\n`, { mode: 0o755 })
      return bin
    }
    const places = { ...nowhere, path: install('on-path', '25.0.1'), jvmFolder: join(folder, 'jvm') }
    assert.throws(() => findJava(places), /needs JDK 17/)
    assert.throws(() => findJava({ ...places, javaHome: join(folder, 'on-path') }), /needs JDK 17/)
    const seventeen = install('jvm/java-17', '17.0.21')
    assert.equal(findJava(places), join(seventeen, 'java'))
    rmSync(folder, { recursive: true })
  })
})

describe('npm run services', function () {
  this.timeout(TEST_MS_MAX)
  it('says what it does, and refuses what it does not know with exit code 2', () => {
    const { status, stdout } = program(['--help'])
    assert.equal(status, 0)
    assert.match(stdout, /up\|down\|status/)
    const wrong = [
      ['up', 'mysql'],
      ['fly'],
      [],
      ['up', '--redis-port', '70000'],
      ['up', '--cassandra-nodes', '2'],
      ['up', '--x'],
    ]
    for (const args of wrong) assert.equal(program(args).status, 2, args.join(' '))
  })

  it('says that nothing is up', () => {
    const state = join(tmpdir(), `heliograph-no-state-${process.pid}`)
    assert.equal(program(['status', 'redis', '--state', state]).status, 1)
    assert.deepEqual(program(['down', '--state', state]), { status: 0, stdout: 'nothing is up\n', stderr: '' })
  })

  whenInstalled(hasRedis && hasPostgres, 'apt-get install redis-server postgresql', () => {
    let folder: string
    let state: string
    const processes = () => readState(state)?.services.flatMap((each) => each.processes) ?? []
    beforeEach(() => {
      folder = makeFolder()
      state = join(folder, 'state.json')
    })
    afterEach(() => {
      program(['down', '--state', state])
      rmSync(folder, { recursive: true })
    })

    it('leaves nothing behind after down, also of those that were killed', () => {
      const temporary = { TMPDIR: folder }
      const { status, stdout, stderr } = program(['up', 'redis', 'postgres', '--state', state], temporary)
      assert.equal(status, 0, stderr)
      assert.match(stdout, /^REDIS_URL=redis:\/\/127\.0\.0\.1:\d+$/m)
      assert.match(stdout, /^DATABASE_URL=postgres:\/\/postgres@127\.0\.0\.1:\d+\/postgres$/m)
      assert.equal(program(['status', 'redis', 'postgres', '--state', state]).status, 0)
      const were = processes()
      assert.deepEqual(were.map(isAlive), [true, true])
      const lockFile = readFileSync(join(readState(state)?.folder ?? '', 'postgres', 'data', 'postmaster.pid'), 'utf8')
      assert.equal(hasSharedMemory(lockFile), true)
      for (const { pid } of were) process.kill(pid, 'SIGKILL')
      assert.equal(program(['status', 'redis', 'postgres', '--state', state]).status, 1)
      assert.equal(program(['down', '--state', state]).status, 0)
      assert.deepEqual(were.map(isAlive), [false, false])
      assert.deepEqual(readdirSync(folder), [])
      assert.equal(hasSharedMemory(lockFile), false)
    })

    it('brings back what was killed, on its port and its data, and keeps a folder that it was given', async () => {
      const args = ['--state', state, '--dir', join(folder, 'kept')]
      assert.equal(program(['up', 'redis', ...args]).status, 0)
      const port = Number(new URL(readState(state)?.services[0]?.env['REDIS_URL'] ?? '').port)
      assert.equal(await redis(port, 'SET', 'a', '1'), '+OK\r\n')
      await kill(processes()[0] as Known)
      assert.equal(program(['up', 'redis', ...args]).status, 0)
      assert.equal(await redis(port, 'GET', 'a'), '$1\r\n1\r\n')
      assert.match(program(['up', 'redis', ...args]).stdout, /redis is up already/)
      assert.equal(program(['down', ...args.slice(0, 2)]).status, 0)
      assert.equal(existsSync(state), false)
      assert.ok(existsSync(join(folder, 'kept', 'redis', 'appendonlydir')))
    })

    it('refuses a port that is taken, and then has nothing up', async () => {
      const other = await startRedis()
      const { status, stderr } = program(['up', 'redis', '--redis-port', String(other.port), '--state', state])
      assert.equal(status, 1)
      assert.equal(stderr, `127.0.0.1:${other.port} is taken: choose another with --redis-port\n`)
      assert.equal(existsSync(state), false)
      assert.equal(await redis(other.port, 'PING'), '+PONG\r\n')
      await other.stop()
    })
  })
})

describe('a Redis for a test', function () {
  this.timeout(TEST_MS_MAX)
  whenInstalled(hasRedis, 'apt-get install redis-server', () => {
    it('has its data after SIGKILL, for it is on disk before it is answered', async () => {
      const server = await startRedis()
      const { port, folder } = server
      assert.match(await redis(port, 'CONFIG', 'GET', 'appendfsync'), /\r\nalways\r\n$/)
      assert.match(await redis(port, 'CONFIG', 'GET', 'maxmemory-policy'), /\r\nnoeviction\r\n$/)
      assert.equal(await redis(port, 'SET', 'a', '1'), '+OK\r\n')
      const pid = server.pid()
      await server.kill()
      assert.equal(server.pid(), undefined)
      await assert.rejects(redis(port, 'PING'))
      await server.revive()
      assert.notEqual(server.pid(), pid)
      assert.equal(await redis(port, 'GET', 'a'), '$1\r\n1\r\n')
      await server.stop()
      assert.equal(existsSync(folder), false)
    })

    it('is silent while it is paused, and answers then', async () => {
      const server = await startRedis()
      server.pause()
      const answer = redis(server.port, 'PING').then((text) => ({ text, atMs: performance.now() }))
      await new Promise((resolve) => setTimeout(resolve, 200))
      const resumedMs = performance.now()
      server.resume()
      const { text, atMs } = await answer
      assert.equal(text, '+PONG\r\n')
      assert.ok(atMs >= resumedMs)
      await server.stop()
    })

    it('may be told to be less careful, or small, for tests that show what then happens', async () => {
      const server = await startRedis({ fsync: 'everysec', memoryBytesMax: 500_000 })
      assert.match(await redis(server.port, 'CONFIG', 'GET', 'appendfsync'), /\r\neverysec\r\n$/)
      assert.match(await redis(server.port, 'SET', 'a', 'a'.repeat(10)), /^-OOM /)
      await server.stop()
    })
  })
})

describe('a PostgreSQL for a test', function () {
  this.timeout(TEST_MS_MAX)
  whenInstalled(hasPostgres, 'apt-get install postgresql', () => {
    it('fsyncs, and has after SIGKILL what it has committed', async () => {
      const server = await startPostgres()
      const { port } = server
      for (const name of ['fsync', 'synchronous_commit', 'full_page_writes']) {
        assert.deepEqual(await postgres(port, `SHOW ${name}`), ['on'])
      }
      await postgres(port, 'CREATE TABLE kept (a int)')
      await postgres(port, 'INSERT INTO kept VALUES (7)')
      await server.kill()
      await assert.rejects(postgres(port, 'SELECT 1'))
      await server.revive()
      assert.deepEqual(await postgres(port, 'SELECT a FROM kept'), ['7'])
      await server.stop()
      assert.equal(existsSync(server.folder), false)
    })

    it('is silent while it is paused, also on connections that are open', async () => {
      const server = await startPostgres({ isFast: true })
      const talk = await converse('127.0.0.1', server.port)
      await logInToPostgres(talk)
      assert.deepEqual(await askPostgres(talk, 'SHOW fsync'), ['off'])
      server.pause()
      let isAnswered = false
      const answer = askPostgres(talk, 'SELECT 1').then((rows) => {
        isAnswered = true
        return rows
      })
      await new Promise((resolve) => setTimeout(resolve, 200))
      assert.equal(isAnswered, false)
      server.resume()
      assert.deepEqual(await answer, ['1'])
      talk.end()
      await server.stop()
    })
  })
})
