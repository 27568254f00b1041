import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startFile, temporaryFolder } from '../listeners/main-process.ts'
import { ADMIN_TOKEN, type MadeDevice, startTestNode, type TestNode } from './node.ts'

describe('npm run provision', () => {
  const { folder, clean } = temporaryFolder()
  let test: TestNode
  before(async () => {
    test = await startTestNode()
  })
  after(async () => {
    await test.stop()
    clean()
  })

  const run = (args: string[], env: Record<string, string> = {}) =>
    startFile('provision.ts', args, { ADMIN_TOKEN, HTTP_PORT: String(test.node.httpPort), ...env }).ended
  const linesOf = (text: string): MadeDevice[] =>
    text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as MadeDevice)

  it('writes one line per device, in pages, to a file for its owner alone', async () => {
    const out = join(folder, 'devices.jsonl')
    writeFileSync(out, 'what was there before', { mode: 0o644 })
    const { code, output } = await run(['--count', '2500', '--prefix', 'c', '--kind', 'thing', '--out', out])
    assert.equal(code, 0, output)
    assert.equal(output, `2500 devices made, written to ${out}\n`)
    assert.equal(statSync(out).mode & 0o777, 0o600)
    const made = linesOf(readFileSync(out, 'utf8'))
    assert.deepEqual(
      made.map(({ device }) => device),
      Array.from({ length: 2_500 }, (_, i) => `c${i + 1}`),
    )
    assert.deepEqual(Object.keys(made[0] ?? {}), ['device', 'user', 'token', 'number', 'registrationId'])
    assert.equal((await test.connect(made[2_499] as MadeDevice)).connack?.returnCode, 0)
  })

  it('writes to stdout, and takes ids from a file, an owner and numbered', async () => {
    const ids = join(folder, 'ids')
    writeFileSync(ids, 'sn0001\nsn0002\r\n\nsn0003\n')
    const { code, output } = await run(['--ids', ids, '--owner', 'works', '--numbered'])
    assert.equal(code, 0, output)
    assert.deepEqual(
      linesOf(output).map(({ device }) => device),
      ['sn0001', 'sn0002', 'sn0003'],
    )
    const { body } = await test.ask('/v1/admin/devices/sn0003')
    assert.deepEqual([body['owner'], body['numbered'], body['kind']], ['works', true, 'thing'])
  })

  it('adds a device to a person', async () => {
    const [one] = linesOf((await run(['--kind', 'person', '--prefix', 'eve'])).output) as [MadeDevice]
    const [two] = linesOf((await run(['--kind', 'person', '--prefix', 'eve', '--user', one.user])).output) as [
      MadeDevice,
    ]
    assert.deepEqual([two.user, two.number], [one.user, 2])
  })

  it('revokes a device', async () => {
    const [made] = (await test.make({ kind: 'thing', ids: ['retired'] })) as [MadeDevice]
    const client = await test.connect(made)
    const { code, output } = await run(['--revoke', 'retired'])
    assert.deepEqual([code, output], [0, 'retired is revoked\n'])
    await client.closed()
  })

  it('finds the token that the server made for itself', async () => {
    const data = join(folder, 'data')
    mkdirSync(data)
    writeFileSync(join(data, 'admin-token'), `${ADMIN_TOKEN}\n`, { mode: 0o600 })
    const { code, output } = await run(['--prefix', 'found'], { ADMIN_TOKEN: '', DATA_DIR: data })
    assert.equal(code, 0, output)
    assert.equal(linesOf(output)[0]?.device, 'found1')
  })

  const refused: [what: string, args: string[], env: Record<string, string>, code: number, says: RegExp][] = [
    [
      'an option that it does not have',
      ['--cuont', '2'],
      {},
      2,
      /^Unknown option '--cuont'; --help says what there is\./,
    ],
    ['a count that is none', ['--count', 'many'], {}, 2, /^--count is "many"; give a number above 0\./],
    ['ids and a count', ['--ids', 'x', '--count', '2'], {}, 2, /^--ids says all ids/],
    ['a url that is none', ['--url', 'here'], {}, 2, /^--url is "here"/],
    [
      'to guess a token',
      [],
      { ADMIN_TOKEN: '', DATA_DIR: '/nowhere' },
      2,
      /^\/nowhere\/admin-token is not there; start the server here first/,
    ],
    [
      'a server that is not there',
      [],
      { HTTP_PORT: '1' },
      1,
      /^No server answers at http:\/\/127\.0\.0\.1:1; start it with npm start/,
    ],
    ['a token that is wrong', [], { ADMIN_TOKEN: 'wrong-but-long' }, 1, / says 401: Send the admin token/],
    ['a kind that is none', ['--kind', 'robot'], {}, 1, / says 400: /],
  ]
  for (const [what, args, env, code, says] of refused) {
    it(`refuses ${what} in one sentence`, async () => {
      const ended = await run(args, env)
      assert.equal(ended.code, code, ended.output)
      assert.match(ended.output, says)
      assert.equal(ended.output.trimEnd().split('\n').length, 1)
    })
  }

  it('makes nothing when its file cannot be written', async () => {
    const before = Number(test.node.server.opened.storeFacts()['registered'])
    const { code } = await run(['--count', '3', '--out', join(folder, 'no', 'such', 'folder')])
    assert.equal(code, 1)
    assert.equal(Number(test.node.server.opened.storeFacts()['registered']), before)
  })
})
