// Runs after `npm ci` and before every script that starts TypeScript sources, under whatever Node is at hand. It
// links the Node that came as an optional dependency where npm 10 forgot to (that npm unlinks node_modules/.bin/node
// again when it discards the packages of the other platforms), and says in a sentence what an older Node would answer
// with a syntax error. Plain JavaScript on purpose: Node 14 must be able to read this file.

import { existsSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'

var required = [22, 18]
var modules = new URL('../node_modules/', import.meta.url)

// The package of another platform may lie here too (a folder copied from another machine): match the name's end.
function bundledNode() {
  var end = '-' + process.platform.replace('win32', 'win') + '-' + process.arch
  var names = existsSync(modules) ? readdirSync(modules) : []
  var name = names.find((each) => each.startsWith('node-') && each.endsWith(end))
  var path = name + '/bin/' + (process.platform === 'win32' ? 'node.exe' : 'node')
  return name && existsSync(new URL(path, modules)) ? path : undefined
}

function link(path) {
  if (process.platform === 'win32') {
    writeFileSync(new URL('.bin/node.cmd', modules), '@"%~dp0..\\' + path.replace(/\//g, '\\') + '" %*\r\n')
  } else {
    rmSync(new URL('.bin/node', modules), { force: true })
    symlinkSync('../' + path, new URL('.bin/node', modules))
  }
}

var bundled = bundledNode()
var linked = existsSync(new URL(process.platform === 'win32' ? '.bin/node.cmd' : '.bin/node', modules))
if (bundled && !linked) {
  link(bundled)
  linked = true
}

var found = process.versions.node.split('.').map(Number)
var old = found[0] < required[0] || (found[0] === required[0] && found[1] < required[1])
if (old && !linked) {
  console.error(
    'Heliograph needs Node ' +
      required.join('.') +
      ' or newer, and this is Node ' +
      process.versions.node +
      '.\n' +
      'On Linux, macOS and Windows "npm ci" (without --omit=optional) brings a newer Node with it.\n' +
      'On another platform (this is ' +
      process.platform +
      '-' +
      process.arch +
      ') install Node 24 first.',
  )
  process.exit(1)
}
