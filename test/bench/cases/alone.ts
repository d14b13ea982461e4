// What is measured without a peer: promptness under load, the virtio-blk ring, memory, a long chain.

import type { MeasuredCase } from '../measured.js'

const KIB = 1024

/** The cases, in order. */
export const aloneCases: readonly MeasuredCase[] = [
  {
    group: 'promptness while 32 lanes read raw over null-co',
    worker: 'timers',
    measures: [
      { key: 'timerMaxMs', name: 'latest timer of a run', unit: 'ms', target: { below: 5 } },
      { key: 'abortMaxMs', name: 'latest abort of a held request', unit: 'ms', target: { below: 5 } },
      { key: 'rate', name: 'reads meanwhile', unit: '/s' },
    ],
  },
  {
    group: 'the same without load, for comparison',
    worker: 'timers',
    args: ['idle'],
    measures: [
      { key: 'timerMaxMs', name: 'latest timer of a run', unit: 'ms' },
      { key: 'abortMaxMs', name: 'latest abort of a held request', unit: 'ms' },
    ],
  },
  {
    group: 'virtio-blk ring to memory driver, 4 KiB, both sides in one thread',
    worker: 'ring',
    measures: [
      { key: 'read', name: 'reads', unit: '/s', target: { atLeast: 800_000 } },
      { key: 'write', name: 'writes', unit: '/s', target: { atLeast: 800_000 } },
    ],
  },
  {
    group: 'memory',
    worker: 'memory',
    args: ['nodes'],
    measures: [{ key: 'bytes', name: 'idle node (null-co)', unit: 'B', target: { below: 8 * KIB } }],
  },
  {
    group: 'memory',
    worker: 'memory',
    args: ['stacks'],
    measures: [
      { key: 'bytes', name: 'idle node in a stack (raw over null-co)', unit: 'B', target: { below: 8 * KIB } },
    ],
  },
  {
    group: 'memory',
    worker: 'memory',
    args: ['requests'],
    measures: [
      { key: 'bytes', name: 'request in flight through raw, without buffer', unit: 'B', target: { below: KIB } },
    ],
  },
  {
    group: 'a backing chain of 1,000 nodes',
    worker: 'chain',
    args: ['1000'],
    measures: [
      { key: 'openMs', name: 'open all', unit: 'ms' },
      { key: 'drainMs', name: 'drain top and base', unit: 'ms' },
      { key: 'readMs', name: 'first read through to the base', unit: 'ms' },
      { key: 'closeMs', name: 'close all', unit: 'ms' },
    ],
  },
]
