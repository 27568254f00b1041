/** Cassandra's jars from Maven Central, fetched once into a cache: there is no Debian package and no need of a tarball. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { findMaven } from './runtimes.ts'
import type { StartOptions } from './service.ts'

export const CASSANDRA_VERSION = '5.0.8'
/** Named in full: what Maven's own super POM binds is too old. */
const GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
const FETCH_MS_MAX = 10 * 60_000
const PROGRESS_MS = 5_000

const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>cassandra-runtime</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>${CASSANDRA_VERSION}</version>
    </dependency>
  </dependencies>
</project>
`

/** `CASSANDRA_CACHE`, or a folder in the user's cache. */
export function jarsFolder(): string {
  const { CASSANDRA_CACHE, XDG_CACHE_HOME } = process.env
  const cache = XDG_CACHE_HOME || join(homedir(), '.cache')
  return join(CASSANDRA_CACHE || join(cache, 'heliograph', `cassandra-${CASSANDRA_VERSION}`), 'lib')
}

/** Rejects when Maven is missing and needed. */
export function findJars(): void {
  if (!existsSync(jarsFolder())) findMaven()
}

/**
 * Resolves with the folder of the jars. They appear there in one step: a fetch that was cut off, or two at once, leave a
 * whole folder or none.
 */
export async function fetchJars(java: string, { say, interrupted }: StartOptions): Promise<string> {
  const folder = jarsFolder()
  if (existsSync(folder)) return folder
  const mvn = findMaven()
  const unfinished = `${folder}.${process.pid}`
  mkdirSync(unfinished, { recursive: true })
  say?.(`cassandra: fetching ${CASSANDRA_VERSION} from Maven Central into ${folder}`)
  const progress = setInterval(() => say?.(`cassandra: ${readdirSync(unfinished).length} files so far`), PROGRESS_MS)
  try {
    writeFileSync(join(unfinished, 'pom.xml'), pom)
    const options = ['-B', '-q', '-Dstyle.color=never', '-f', join(unfinished, 'pom.xml'), GOAL]
    const child = spawn(mvn, [...options, '-DincludeScope=runtime', `-DoutputDirectory=${unfinished}`], {
      stdio: ['ignore', 2, 2],
      timeout: FETCH_MS_MAX,
      ...(interrupted === undefined ? {} : { signal: interrupted }),
      env: { ...process.env, JAVA_HOME: dirname(dirname(java)) },
    })
    // An abort ends it; what counts is that it is over.
    child.on('error', () => undefined)
    const code = await new Promise<number | null>((resolve) => void child.once('close', resolve))
    interrupted?.throwIfAborted()
    const isWhole = ['cassandra-all-', 'jamm-'].every((jar) =>
      readdirSync(unfinished).some((name) => name.startsWith(jar)),
    )
    if (code !== 0 || !isWhole) throw new Error(`mvn ended with ${code}; Cassandra could not be fetched`)
    if (!existsSync(folder)) renameSync(unfinished, folder)
  } finally {
    clearInterval(progress)
    rmSync(unfinished, { recursive: true, force: true })
  }
  say?.(`cassandra: ${readdirSync(folder).length} files fetched`)
  return folder
}
