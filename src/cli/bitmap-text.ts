// Failures with dirty bitmaps as the tools print them.

import { BlockError } from '../common/error.js'
import { messageText } from './error-text.js'
import { ToolError } from './tool.js'

/** A {@link ToolError} saying `<what>: <message>`, the node left out, with the error's hint as a line of its own. */
export function bitmapFailed(what: string, thrown: unknown): ToolError {
  if (!(thrown instanceof BlockError)) return new ToolError(`${what}: ${messageText(thrown)}`)
  const { node, message, hint } = thrown
  const text = node !== undefined && message.startsWith(`${node}: `) ? message.slice(node.length + 2) : message
  return new ToolError(`${what}: ${text}`, 1, hint === undefined ? [] : [hint])
}
