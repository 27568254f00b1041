/** What is up, in a file: written before a process is waited for, so that `down` finds it whatever became of `up`. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Known } from './process.ts'
import type { ServiceName } from './service.ts'

export interface UpService {
  readonly name: ServiceName
  readonly folder: string
  readonly processes: readonly Known[]
  /** Of the start, with the ports that were chosen: a second start is told the same. */
  readonly settings: Record<string, unknown>
  /** What a program needs to use it, by the name of the server's setting. Empty until it has answered. */
  readonly env: Record<string, string>
}

export interface State {
  readonly folder: string
  /** The folder goes with the services. */
  readonly isFolderTemporary: boolean
  readonly services: readonly UpService[]
}

/** Beside package.json: one for each copy of the repository. */
export const usualStateFile = fileURLToPath(new URL('../../.services.json', import.meta.url))

export function readState(file: string): State | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as State) : undefined
}

/** In one step: who reads it meanwhile sees the old or the new. */
export function writeState(file: string, state: State): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`)
  renameSync(`${file}.new`, file)
}

export function withService(state: State, service: UpService): State {
  const others = state.services.filter(({ name }) => name !== service.name)
  return { ...state, services: [...others, service] }
}

export const removeState = (file: string): void => rmSync(file, { force: true })
