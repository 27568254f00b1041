/** The repository as a map from path to text, for the rules; and how to plant a fault in it. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * A repository as the rules see it: path relative to its root, with `/`, to the file's text.
 * A map and not the disk, so that a test can plant a violation without writing one.
 */
export type Tree = ReadonlyMap<string, string>

/**
 * Every file below `root` except what .gitignore names (folders, names and `*.ending`, the forms that ours has). Bytes
 * that are not UTF-8 become replacement characters.
 */
export function readTree(root: string): Tree {
  const tree = new Map<string, string>()
  const ignored = ['.git', ...readFileSync(join(root, '.gitignore'), 'utf8').split('\n')].filter((line) => line !== '')
  const isIgnored = (name: string): boolean =>
    ignored.some((line) => (line.startsWith('*') ? name.endsWith(line.slice(1)) : name === line.replace(/\/$/, '')))
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (isIgnored(entry.name)) continue
      if (entry.isDirectory()) walk(path)
      else if (entry.isFile()) tree.set(path, readFileSync(join(root, path), 'utf8'))
    }
  }
  walk('')
  return tree
}

/** `tree` with files added or replaced: how a test plants a violation. */
export function plant(tree: Tree, files: Record<string, string>): Tree {
  return new Map([...tree, ...Object.entries(files)])
}

/** Whether the rules read this file as code that runs. */
export function isCode(path: string): boolean {
  return /\.(ts|mjs)$/.test(path)
}
