// `--object` definitions: secrets, and throttle groups without limits, which are accepted and mean nothing here.

import { readFileSync } from 'node:fs'
import { parseOptionString } from '../global-state/options/option-text.js'
import type { FlatOptions } from '../global-state/options/options.js'
import { ToolError } from './tool.js'

/** A secret as a command line defines it. */
export interface SecretDefinition {
  readonly id: string
  readonly data: Uint8Array
}

const IDENTIFIER = /^[A-Za-z][A-Za-z0-9._-]*$/

/** The secrets among `objects`. Throws a ToolError for a definition that makes no sense or has no use here. */
export function readObjects(objects: readonly string[]): SecretDefinition[] {
  const ids = new Set<string>()
  const secrets: SecretDefinition[] = []
  for (const object of objects) {
    const options = readDefinition(object)
    const { id, 'qom-type': type, ...rest } = options
    if (type === undefined) throw new ToolError("Parameter 'qom-type' is missing")
    if (type !== 'secret' && type !== 'throttle-group') {
      throw new ToolError(`Parameter 'qom-type' does not accept value '${String(type)}'`)
    }
    if (typeof id !== 'string') throw new ToolError("Parameter 'id' is missing")
    if (!IDENTIFIER.test(id)) {
      const hint = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
      throw new ToolError("Parameter 'id' expects an identifier", 1, [hint])
    }
    if (type === 'throttle-group') refuseLimits(rest)
    else secrets.push({ id, data: secretData(rest) })
    if (ids.has(id)) throw new ToolError(`attempt to add duplicate property '${id}' to object (type 'container')`)
    ids.add(id)
  }
  return secrets
}

function readDefinition(object: string): FlatOptions {
  if (object.startsWith('{')) {
    try {
      return JSON.parse(object) as FlatOptions
    } catch {
      throw new ToolError('JSON parse error, invalid object definition')
    }
  }
  for (const item of object.replaceAll(',,', '').split(',').slice(1)) {
    if (item !== '' && !item.includes('=')) throw new ToolError(`Expected '=' after parameter '${item}'`)
  }
  return parseOptionString(object, 'qom-type')
}

function refuseLimits(rest: FlatOptions): void {
  const [limit] = Object.entries(rest)
  if (limit === undefined) return
  throw new ToolError(`A throttle group takes its limits from the throttle node, not from '${limit.join('=')}'`)
}

/** The bytes of a secret; the options are those of the tools whose syntax this is, less secrets encrypted by secrets. */
function secretData(options: FlatOptions): Uint8Array {
  const { data, file, format = 'raw', ...others } = options
  const [other] = Object.keys(others)
  if (other === 'keyid' || other === 'iv') throw new ToolError('Encrypted secrets are not supported')
  if (other !== undefined) throw new ToolError(`Parameter '${other}' is unexpected`)
  if (format !== 'raw' && format !== 'base64') {
    throw new ToolError(`Parameter 'format' does not accept value '${String(format)}'`)
  }
  if (data !== undefined && file !== undefined) throw new ToolError("'file' and 'data' are mutually exclusive")
  const given = data ?? file
  if (given === undefined) throw new ToolError("Either 'file' or 'data' must be provided")
  const bytes = file === undefined ? Buffer.from(String(data)) : readSecretFile(String(file))
  return format === 'raw' ? bytes : fromBase64(bytes.toString('latin1'))
}

function readSecretFile(name: string): Buffer {
  try {
    return readFileSync(name)
  } catch (thrown) {
    const { code, message } = thrown as { code?: string; message: string }
    const why =
      code === 'ENOENT'
        ? `Failed to open file “${name}”: No such file or directory`
        : code === 'EACCES'
          ? `Failed to open file “${name}”: Permission denied`
          : code === 'EISDIR'
            ? `Error reading file “${name}”: Is a directory`
            : message
    throw new ToolError(`Unable to read ${name}: ${why}`)
  }
}

/** Strict, as half a password would open nothing. */
function fromBase64(text: string): Uint8Array {
  const digits = text.replaceAll('\n', '')
  if (digits.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits)) {
    throw new ToolError('Base64 data contains invalid characters')
  }
  return Buffer.from(digits, 'base64')
}
