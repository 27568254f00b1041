import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { ConfigFault, configLines, configTable, isLoopback, readConfig, secret } from '../../core/config.ts'
import { limits } from '../../topics/limits.ts'

const SECRET = 'correct horse battery'

const CLUSTER = { DATABASE_URL: 'postgres://127.0.0.1/x', CASSANDRA_CONTACT_POINTS: '127.0.0.1' }

describe('settings', () => {
  it('have a default each, taken from the limits where there is one', () => {
    const config = readConfig({})
    assert.equal(config.mqttHost, '127.0.0.1')
    assert.equal(config.mqttPort, 1883)
    assert.equal(config.httpPort, 8080)
    assert.equal(config.mqttPlaintext, false)
    assert.equal(config.windowRows, limits.windowRows)
    assert.equal(config.inboxRowsMax, limits.inboxRowsMax)
    assert.equal(config.adminToken, undefined)
  })

  it('take what the environment says; an empty variable is an unset one', () => {
    const config = readConfig({ MQTT_PORT: '0', DATA_DIR: 'there', ADMIN_TOKEN: SECRET, HTTP_PORT: '' })
    assert.equal(config.mqttPort, 0)
    assert.equal(config.dataDir, 'there')
    assert.equal(config.adminToken?.reveal(), SECRET)
    assert.equal(config.httpPort, 8080)
  })

  it('of other programs are none of ours', () => {
    assert.doesNotThrow(() => readConfig({ PATH: '/bin', HOME: '/', HTTP_PROXY: 'http://proxy', LANG: 'C' }))
  })

  const refused: [what: string, env: Record<string, string>, says: RegExp][] = [
    ['a misspelt name', { MQTT_PROT: '1' }, /MQTT_PROT is not a setting.*npm run config/],
    ['an unknown name of a family of ours', { DISK_QUOTA: '1' }, /DISK_QUOTA is not a setting/],
    ['a port that is no number', { MQTT_PORT: 'abc' }, /MQTT_PORT is "abc"; give a port/],
    ['a port above 65535', { HTTP_PORT: '65536' }, /HTTP_PORT.*0 to 65535/],
    ['a negative port', { MQTTS_PORT: '-1' }, /MQTTS_PORT/],
    ['a port with a fraction', { MQTT_PORT: '1.5' }, /MQTT_PORT/],
    ['a count of nothing', { INBOX_ROWS_MAX: '0' }, /INBOX_ROWS_MAX is "0"; give a number above 0/],
    ['a count that is no number', { CONNECTIONS_MAX: 'many' }, /CONNECTIONS_MAX/],
    ['a count with an exponent', { CONNECTIONS_MAX: '1e3' }, /CONNECTIONS_MAX/],
    ['a flag that is neither yes nor no', { MQTT_ALLOW_PLAINTEXT_ON_NETWORK: 'true' }, /say yes or no/],
    ['a certificate without a key', { TLS_CERT: 'a.pem' }, /TLS_CERT and TLS_KEY go together/],
    ['a key without a certificate', { TLS_KEY: 'a.key' }, /TLS_CERT and TLS_KEY go together/],
    [
      'plain MQTT on the network',
      { MQTT_HOST: '0.0.0.0' },
      /MQTT_HOST is 0\.0\.0\.0.*MQTT_ALLOW_PLAINTEXT_ON_NETWORK=yes/,
    ],
    [
      'plain HTTP on the network',
      { HTTP_HOST: '10.0.0.1' },
      /HTTP_HOST is 10\.0\.0\.1.*MQTT_ALLOW_PLAINTEXT_ON_NETWORK=yes/,
    ],
    ['a window that packet ids have no room for', { WINDOW_ROWS: '1025' }, /WINDOW_ROWS is 1025; at most 1024/],
    ['a reserve as large as what ends the intake', { DISK_RESERVE_MIB: '256' }, /DISK_RESERVE_MIB has to be smaller/],
    ['a node name that is no topic level', { NODE_NAME: 'One/Two' }, /NODE_NAME takes/],
    ['an admin token that can be guessed', { ADMIN_TOKEN: 'secret' }, /ADMIN_TOKEN is too short/],
    ['a password that can be guessed', { OBSERVER_PASSWORD: '12345678901' }, /OBSERVER_PASSWORD is too short/],
    ['a key of phone numbers that can be guessed', { PHONE_KEY: 'secret' }, /PHONE_KEY is too short/],
    [
      'a public URL that is none',
      { PUBLIC_URL: 'chat.example.org' },
      /PUBLIC_URL is "chat.example.org"; give one like/,
    ],
    ['a public URL of another protocol', { PUBLIC_URL: 'wss://chat.example.org' }, /PUBLIC_URL is "wss:/],
    [
      'another database where Redis should be',
      { ...CLUSTER, REDIS_URL: 'http://127.0.0.1:6379' },
      /REDIS_URL is not one/,
    ],
    ['a name for a database of Redis', { ...CLUSTER, REDIS_URL: 'redis://127.0.0.1/main' }, /REDIS_URL is not one/],
    ['a provider of text messages, which nobody would ask', { SMS_PROVIDER: 'x' }, /SMS_PROVIDER is not a setting/],
    ['a limit of codes that there is not', { CODES_PER_DAY_MAX: '1' }, /CODES_PER_DAY_MAX is not a setting/],
  ]
  for (const [what, env, says] of refused) {
    it(`refuse ${what}, and say what to do`, () => {
      assert.throws(
        () => readConfig(env),
        (error) => error instanceof ConfigFault && says.test(error.message),
      )
    })
  }

  it('refuse a name of the family of each setting, but of those that other programs use too', () => {
    const names = [...configTable().matchAll(/^\| `(\w+)`/gm)].map(([, name = '']) => name)
    assert.equal(names.length, configLines(readConfig({})).length)
    for (const name of names) {
      const misspelt = { [`${name}X`]: '1' }
      if (/^(DATA|LOG|NODE|PROXY|WINDOW)_/.test(name)) assert.doesNotThrow(() => readConfig(misspelt), name)
      else assert.throws(() => readConfig(misspelt), new RegExp(`${name}X is not a setting`))
    }
    assert.doesNotThrow(() => readConfig({ NODE_OPTIONS: '', LOG_FORMAT: 'x', MQTTX: '1', HTTPS_PROXY: 'x' }))
  })

  it('take the largest window, and the network when it is allowed in so many words', () => {
    assert.equal(readConfig({ WINDOW_ROWS: '1024' }).windowRows, 1_024)
    const open = readConfig({ MQTT_HOST: '0.0.0.0', HTTP_HOST: '::', MQTT_ALLOW_PLAINTEXT_ON_NETWORK: 'yes' })
    assert.equal(open.mqttHost, '0.0.0.0')
  })

  it('know loopback by all its names', () => {
    for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) assert.equal(isLoopback(host), true, host)
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '128.0.0.1'])
      assert.equal(isLoopback(host), false, host)
  })

  it('do not change once they are read', () => assert.ok(Object.isFrozen(readConfig({}))))

  it('are listed, one line each, with their names and meanings', () => {
    const table = configTable()
    const lines = configLines(readConfig({}))
    for (const line of lines) assert.match(table, new RegExp(`\`${line.split('=')[0]}\``))
    assert.ok(lines.includes('MQTT_PORT=1883'))
  })
})

describe('a secret', () => {
  it('is shown to nobody but who asks for it', () => {
    const config = readConfig({ ADMIN_TOKEN: SECRET, OBSERVER_PASSWORD: SECRET })
    const shown = [
      configLines(config).join('\n'),
      JSON.stringify(config),
      inspect(config, { depth: 9, showHidden: true }),
      String(config.adminToken),
      `${config.observerPassword}`,
    ]
    for (const text of shown) assert.equal(text.includes(SECRET), false, text)
    assert.ok(configLines(config).includes('ADMIN_TOKEN=(hidden)'))
    assert.equal(secret(SECRET).reveal(), SECRET)
  })
})
