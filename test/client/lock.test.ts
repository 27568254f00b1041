/** One process for a database: a second one is told, and the death of the first frees it. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClientFault, openClient } from '../../client/index.ts'

const SDK = new URL('../../client/index.ts', import.meta.url).href

interface Opener {
  readonly child: ChildProcess
  /** `open`, or the code and sentence of the fault. */
  readonly said: string
}

describe('a database of two processes', () => {
  let folder: string
  const children: ChildProcess[] = []
  const settings = () => ({ folder, unlock: { keyFile: join(folder, 'key') }, url: 'http://127.0.0.1:9' })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-lock-'))
  })
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  })

  /** A process that opens the client, says what came of it, and stays. */
  async function openElsewhere(): Promise<Opener> {
    const program = `
      import { openClient } from ${JSON.stringify(SDK)}
      let said = 'open'
      // Held: a client that nobody can reach any more is collected, and its lock with it.
      try { globalThis.held = openClient(${JSON.stringify(settings())}) } catch ({ code, message }) { said = code + ' ' + message }
      process.send(said)
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    children.push(child)
    const ended = once(child, 'exit').then(() => ['it ended'])
    const [said] = (await Promise.race([once(child, 'message'), ended])) as [string]
    return { child, said }
  }

  function refusal(): string {
    let client: ReturnType<typeof openClient> | undefined
    try {
      client = openClient(settings())
    } catch (error) {
      assert.ok(error instanceof ClientFault, String(error))
      return `${error.code} ${error.message}`
    }
    client.abandon()
    return assert.fail('it opened')
  }

  it('belongs to the first; the second is told which file it is and what to do', async () => {
    const { said } = await openElsewhere()
    assert.equal(said, 'open')
    const sentence = `locked Another process uses ${join(folder, 'client.db')}; end it, or use another folder.`
    assert.equal(refusal(), sentence)
    assert.equal((await openElsewhere()).said, sentence)
  })

  it('is free at once when its process is killed', async () => {
    const { child } = await openElsewhere()
    assert.match(refusal(), /^locked /)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await openClient(settings()).close()
  })

  it('is not given to another process before it is closed', async () => {
    const client = openClient(settings())
    assert.match((await openElsewhere()).said, /^locked /)
    assert.match(refusal(), /^locked /)
    await client.close()
    assert.equal((await openElsewhere()).said, 'open')
  })

  it('is given back when it cannot be opened after all', async () => {
    for (let i = 0; i < 2; i++) {
      assert.throws(
        () => openClient({ ...settings(), url: 'ftp://nowhere' }),
        (error) => error instanceof ClientFault && error.code === 'invalid',
      )
    }
    await openClient(settings()).close()
  })
})
