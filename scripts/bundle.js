// Puts the programs of bin/ into dist/programs: a file for what every command needs, and further ones that a command loads when
// it needs them. Reading and linking some three hundred modules one by one would take several times as long as the command itself.
// Run after the compiler.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiled = join(root, 'dist')

/** Loaded by those who have installed them. */
const PEERS = ['koffi', '@bokuweb/zstd-wasm']

await build({
  root,
  configFile: false,
  logLevel: 'error',
  esbuild: false,
  publicDir: false,
  ssr: { noExternal: true, external: PEERS },
  plugins: [deferChildProcess(), licences()],
  build: {
    ssr: true,
    target: 'esnext',
    minify: false,
    outDir: join(compiled, 'programs'),
    emptyOutDir: true,
    rollupOptions: {
      input: Object.fromEntries(programs().map((name) => [name, join(compiled, 'cli/programs', `${name}.js`)])),
      output: {
        format: 'es',
        entryFileNames: '[name].js',
        chunkFileNames: '[name]-[hash].js',
        hoistTransitiveImports: false,
        experimentalMinChunkSize: 60_000,
      },
    },
  },
})

function programs() {
  return readdirSync(join(root, 'src/cli/programs')).map((name) => name.replace(/\.ts$/, ''))
}

/**
 * commander loads node:child_process, and with it Node's sockets, for subcommands that are programs of their own. There are none.
 *
 * @returns {import('vite').Plugin}
 */
function deferChildProcess() {
  const loads = "const childProcess = require('node:child_process');"
  const defers =
    "const childProcess = { spawn: (...args) => process.getBuiltinModule('node:child_process').spawn(...args) };"
  return {
    name: 'defer-child-process',
    enforce: 'pre',
    transform(code, id) {
      if (!id.endsWith('commander/lib/command.js')) return null
      if (!code.includes(loads)) throw new Error('commander no longer loads node:child_process as it did')
      return { code: code.replace(loads, defers), map: null }
    },
  }
}

/**
 * The licences of the packages whose code the programs hold.
 *
 * @returns {import('vite').Plugin}
 */
function licences() {
  return {
    name: 'licences',
    generateBundle(_options, bundle) {
      /** @type {Set<string>} */
      const folders = new Set()
      for (const part of Object.values(bundle)) {
        for (const id of part.type === 'chunk' ? part.moduleIds : []) {
          const folder = /^\0?(.*node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+)/.exec(id)?.[1]
          if (folder !== undefined) folders.add(folder)
        }
      }
      const source = [...folders].sort().map(licenceOf).join('\n')
      this.emitFile({ type: 'asset', fileName: 'LICENCES.txt', source })
    },
  }
}

/** @param {string} folder */
function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
  if (file === undefined) throw new Error(`${name} has no licence file`)
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
}
