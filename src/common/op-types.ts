// Operations that a user of a node may block for others, in the order of their values.

export const BLOCK_OP_TYPES = [
  'backup-source',
  'backup-target',
  'change',
  'commit-source',
  'commit-target',
  'dataplane',
  'drive-del',
  'eject',
  'external-snapshot',
  'internal-snapshot',
  'internal-snapshot-delete',
  'mirror-source',
  'mirror-target',
  'resize',
  'stream',
  'replace',
] as const

/** One of {@link BLOCK_OP_TYPES}; its value is its index there. */
export type BlockOpType = (typeof BLOCK_OP_TYPES)[number]
