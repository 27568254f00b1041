/** Where the programs of the services are on this machine, and one line that says what to install when they are not. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Its message is for a person, alone. */
export class MissingRuntime extends Error {}

/** Where to look; the folders are Debian's. */
export interface Places {
  readonly path: string
  readonly javaHome: string | undefined
  readonly jvmFolder: string
  readonly postgresFolder: string
}

export function usualPlaces(): Places {
  const { PATH = '', JAVA_HOME } = process.env
  return { path: PATH, javaHome: JAVA_HOME, jvmFolder: '/usr/lib/jvm', postgresFolder: '/usr/lib/postgresql' }
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function onPath(command: string, { path }: Places): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, command))
    .find(isProgram)
}

function foldersIn(parent: string): string[] {
  try {
    return readdirSync(parent)
  } catch {
    return []
  }
}

export function findRedis(places = usualPlaces()): string {
  const found = onPath('redis-server', places)
  if (found === undefined) throw new MissingRuntime('Redis needs redis-server: apt-get install redis-server')
  return found
}

/** Undefined: it is to be fetched. */
export const findValkey = (places = usualPlaces()): string | undefined => onPath('valkey-server', places)

/** The folder of initdb and postgres: Debian keeps it off the PATH. The newest version counts. */
export function findPostgres(places = usualPlaces()): string {
  const versions = foldersIn(places.postgresFolder).toSorted((a, b) => Number(b) - Number(a))
  const folders = [
    ...versions.map((version) => join(places.postgresFolder, version, 'bin')),
    ...places.path.split(delimiter),
  ]
  const found = folders.find(
    (folder) => folder !== '' && ['initdb', 'postgres'].every((each) => isProgram(join(folder, each))),
  )
  if (found === undefined) throw new MissingRuntime('PostgreSQL needs its server: apt-get install postgresql')
  return found
}

/** A user that PostgreSQL may run as: it refuses root. Undefined: whoever runs this. */
export function postgresUser(passwd = '/etc/passwd'): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync(passwd, 'utf8')) ?? []
  if (uid === undefined)
    throw new MissingRuntime('PostgreSQL refuses root, and there is no user postgres: apt-get install postgresql')
  return { uid: Number(uid), gid: Number(gid) }
}

function isJava17(java: string): boolean {
  return /version "17[."]/.test(spawnSync(java, ['-version'], { encoding: 'utf8' }).stderr ?? '')
}

/**
 * JAVA_HOME's java, that of the PATH or one in Debian's folder: the first that is 17. Cassandra 5.0 names no other, and
 * calls what 24 no longer has.
 */
export function findJava(places = usualPlaces()): string {
  const { javaHome, jvmFolder } = places
  const candidates = [
    ...(javaHome === undefined || javaHome === '' ? [] : [join(javaHome, 'bin', 'java')]),
    ...[onPath('java', places) ?? []].flat(),
    ...foldersIn(jvmFolder).map((name) => join(jvmFolder, name, 'bin', 'java')),
  ]
  const found = candidates.find((java) => isProgram(java) && isJava17(java))
  if (found === undefined) throw new MissingRuntime('Cassandra needs JDK 17: apt-get install openjdk-17-jdk-headless')
  return found
}

export function findMaven(places = usualPlaces()): string {
  const found = onPath('mvn', places)
  if (found === undefined) throw new MissingRuntime('Cassandra needs Maven to fetch it: apt-get install maven')
  return found
}
