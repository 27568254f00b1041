/**
 * `npm run chat`: where the process begins. What it runs is compiled once and kept beside the packages, so that the
 * prompt is there soon; where that folder cannot be written, everything is compiled each time.
 */
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'

enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/compiled', import.meta.url)))
await import('./run.ts')
