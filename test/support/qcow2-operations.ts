// What tools do to a qcow2 image, as operations of crash workloads.

import { amendImage } from '../../src/global-state/amend-image.js'
import { checkImage } from '../../src/global-state/check-image.js'
import { changeBackingFile, makeEmpty } from '../../src/global-state/image.js'
import type { FlatOptions } from '../../src/global-state/options/options.js'
import type { CrashDisk, CrashOperation } from '../../src/testing/crash/crash-target.js'

/** Changes of creation options that the guest sees nothing of. */
export function amendments(...options: readonly FlatOptions[]): CrashOperation[] {
  return options.map((wanted) => ({
    name: `amend ${JSON.stringify(wanted)}`,
    run: ({ graph, node }) => graph.mainLoop((main) => amendImage(main, node, wanted)),
  }))
}

/** A change of length by the same means. */
export function amendedLength(length: number): CrashOperation {
  return {
    ...amendments({ size: length })[0],
    name: `amend the length to ${length}`,
    effect: { length },
  } as CrashOperation
}

/** Changes of length with preallocation. */
export function preallocatedLengths(...lengths: readonly number[]): CrashOperation[] {
  return lengths.flatMap((length) =>
    (['metadata', 'full'] as const).map((preallocation) => ({
      name: `resize to ${length} with preallocation ${preallocation}`,
      effect: { length },
      run: ({ backend }: CrashDisk) => backend.truncate(length, { truncate: { exact: true, preallocation } }),
    })),
  )
}

/** Other names of the backing file in the header. */
export function renamings(...names: readonly string[]): CrashOperation[] {
  return names.map((name) => ({
    name: `backing file ${name.slice(0, 20)}`,
    run: ({ graph, node }) => graph.mainLoop((main) => changeBackingFile(main, node, name, 'raw')),
  }))
}

/** Drops everything that the image holds. */
export const emptying: CrashOperation = {
  name: 'make empty',
  effect: 'discards',
  run: ({ graph, backend }) =>
    graph.mainLoop(async (main) => {
      const { edge } = backend
      if (edge !== undefined) await makeEmpty(main, edge)
    }),
}

/** A repair, for what a crash leaves in workloads that go on. */
export function repairs(...fixes: readonly number[]): CrashOperation[] {
  return fixes.map((fix) => ({
    name: `repair ${fix}`,
    run: async ({ graph, node }) => {
      await graph.mainLoop((main) => checkImage(main, node, fix, () => {}))
    },
  }))
}
