// A tool whose output a test reads.

import type { Tool } from '../../../src/cli/tool.js'

export interface RecordingTool extends Tool {
  stdout: string
  stderr: string
}

/** A tool called `tool` that keeps what is printed. */
export function recordingTool(): RecordingTool {
  const tool: RecordingTool = {
    name: 'tool',
    stdout: '',
    stderr: '',
    out: (text) => {
      tool.stdout += text
    },
    err: (text) => {
      tool.stderr += text
    },
  }
  return tool
}
