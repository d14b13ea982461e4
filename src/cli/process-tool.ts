// The process as a tool sees it, and how it ends: with an exit code, whatever was thrown.

import { paysTuning, tuneEngine } from './engine.js'
import { processOutput } from './output.js'
import { printError, type Tool, ToolError } from './tool.js'

/** The streams of this process, for the tool called `name`. */
export function processTool(name: string): Tool {
  return {
    name,
    out: processOutput(1),
    err: processOutput(2),
    expectWork: (bytes) => {
      if (paysTuning(bytes)) tuneEngine()
    },
  }
}

/** Runs `act` and gives its exit code; what it throws is printed. */
export async function exitCodeOf(tool: Tool, act: () => Promise<number>): Promise<number> {
  try {
    return await act()
  } catch (thrown) {
    if (thrown instanceof ToolError) {
      printError(tool, thrown)
      return thrown.exitCode
    }
    const { messageText } = await import('./error-text.js')
    printError(tool, new ToolError(messageText(thrown)))
    return 1
  }
}
