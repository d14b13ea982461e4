// Errors of the library as the tools print them: without generated node names, errno words where only the code matters.

import { errnoMessage } from '../common/errno.js'
import { BlockError, toBlockError } from '../common/error.js'
import { ToolError } from './tool.js'

/** The words for the code of whatever was thrown, as in "Input/output error". */
export function errnoText(thrown: unknown): string {
  return errnoMessage(toBlockError(thrown).code)
}

/** The message of whatever was thrown, less the names of nodes that the user did not name. */
export function messageText(thrown: unknown): string {
  const error = toBlockError(thrown)
  const text = error.message.replace(/(^|: )(#block\d+: )+/g, '$1')
  const refused = /^'(.*)' is a directory, not an image$/.exec(text)
  if (error.code === 'EPERM' && text.endsWith(', but the node is read-only')) return 'Block node is read-only'
  const option = /^(\w+) driver '([^']*)' does not support the option '(.*)'$/.exec(text)
  if (option !== null) {
    const [, kind, driver, name] = option
    return kind === 'protocol'
      ? `Block protocol '${driver}' doesn't support the option '${name}'`
      : `Block format '${driver}' does not support the option '${name}'`
  }
  if (refused !== null) return `'file' driver requires '${refused[1]}' to be a regular file`
  return error.code === 'EINVAL' ? text : text.replace(/^(Could not open '.*'): .*$/, `$1: ${errnoMessage(error.code)}`)
}

/** A {@link ToolError} with the message alone, and the error's hint as a line of its own. */
export function failure(thrown: unknown): ToolError {
  if (thrown instanceof ToolError) return thrown
  return new ToolError(messageText(thrown), 1, hintLines(thrown))
}

/** A {@link ToolError} saying `<what>: <message>`, with the error's hint as a line of its own. */
export function failed(what: string, thrown: unknown, exitCode = 1): ToolError {
  if (thrown instanceof ToolError) return thrown
  return new ToolError(`${what}: ${messageText(thrown)}`, exitCode, hintLines(thrown))
}

function hintLines(thrown: unknown): string[] {
  const hint = thrown instanceof BlockError ? thrown.hint : undefined
  return hint === undefined ? [] : hint.split('\n')
}

/** As {@link failed}, for an image that could not be created. */
export function creationFailed(what: string, thrown: unknown): ToolError {
  const error = failed(what, thrown)
  // A message that names the file itself does not get the name twice.
  const text = error.message.startsWith(`${what}: ${what}: `) ? error.message.slice(what.length + 2) : error.message
  const message = text
    .replace(/(^|: )Could not open '/, "$1Could not create '")
    .replace(/'file' driver requires ('.*') to be a regular file$/, 'Could not create $1: Is a directory')
  return new ToolError(message, error.exitCode, error.hints)
}
