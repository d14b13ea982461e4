// Options of graphs: a tree of inline definitions as a user would write it, in nested form, over drivers that need no host.

import * as fc from 'fast-check'

/** How large the trees become, and of what disks they are made. */
export interface NodeOptionsConstraints {
  /** Nodes on the longest path; 4 by default. */
  maxDepth?: number
  /** Length of each disk in bytes; 64 KiB by default. */
  size?: number
  /** Driver of the overlays; none where it is left out. */
  overlay?: string
}

/** Options for `openNode` that a graph with the built-in drivers accepts. */
export function nodeOptions(constraints: NodeOptionsConstraints = {}): fc.Arbitrary<Record<string, unknown>> {
  const { maxDepth = 4, size = 65536, overlay } = constraints
  const disk = fc
    .constantFrom('memory', 'null-co', 'null-aio')
    .map((driver): Record<string, unknown> => ({ driver, size }))
  let tree: fc.Arbitrary<Record<string, unknown>> = disk
  for (let depth = 1; depth < maxDepth; depth++) {
    const below = tree
    const shows = fc
      .record({ driver: fc.constantFrom('raw', 'throttle', 'blkdebug'), file: below })
      .map(({ driver, file }): Record<string, unknown> => ({ driver, file }))
    const branches = [disk, shows]
    if (overlay !== undefined) branches.push(below.map((backing) => ({ driver: overlay, backing })))
    tree = fc.oneof(...branches)
  }
  return fc.tuple(tree, genericOptions()).map(([options, generic]) => ({ ...options, ...generic }))
}

/** Options every node has, as far as they go together. */
export function genericOptions(): fc.Arbitrary<Record<string, unknown>> {
  return fc.record(
    {
      'read-only': fc.boolean(),
      'auto-read-only': fc.boolean(),
      discard: fc.constantFrom('ignore', 'unmap'),
      'cache.no-flush': fc.boolean(),
    },
    { requiredKeys: [] },
  )
}
