// Node's OpenSSL, loaded when it is first used: the module takes longer to load than a small command runs.

let loaded: typeof import('node:crypto') | undefined

/** The module `node:crypto`. */
export function openssl(): typeof import('node:crypto') {
  loaded ??= process.getBuiltinModule('node:crypto')
  return loaded
}
