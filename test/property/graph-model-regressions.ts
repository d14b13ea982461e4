// Runs of the graph model that failed once, as the failure printed them, with what was wrong.

import type { GraphCommand } from '../../src/testing/model/command.js'

export interface Regression {
  why: string
  commands: GraphCommand[]
  order: number[]
}

export const regressions: Regression[] = []
