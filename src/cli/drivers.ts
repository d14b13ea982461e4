// Drivers on demand: an image in a raw file needs two of them, and start-up time is part of what a tool costs.

import type { BlockGraph } from '../global-state/graph.js'

/**
 * Registers drivers with `graph`: those of the names given where all are the two most used ones, else every driver there
 * is. Without names (a format has to be guessed) every driver.
 */
export async function registerDrivers(graph: BlockGraph, names: readonly string[] | undefined): Promise<void> {
  const { registry } = graph
  if (registry.find('file') === undefined) registry.register((await import('../drivers/file/index.js')).fileDriver)
  if (registry.find('raw') === undefined) registry.register((await import('../drivers/raw.js')).rawDriver)
  if (names?.every((name) => registry.find(name) !== undefined) === true) return
  const { builtinDrivers } = await import('../drivers/index.js')
  for (const driver of builtinDrivers) if (registry.find(driver.name) === undefined) registry.register(driver)
}
