import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { configTable } from '../../core/config.ts'

const page = readFileSync(new URL('../../docs/settings.md', import.meta.url), 'utf8')

describe('docs/settings.md', () => {
  it('has the table that the settings are made of', () => {
    assert.ok(page.includes(configTable()), 'npm run --silent config -- --table prints the table: put it there')
  })
})
