// The structures of an image that a write can be kept from overwriting, by the names of the option `overlap-check`.

/** Structures, ordered as the field lists them. */
export const OVERLAP_FLAGS = [
  'main-header',
  'active-l1',
  'active-l2',
  'refcount-table',
  'refcount-block',
  'snapshot-table',
  'inactive-l1',
  'inactive-l2',
  'bitmap-directory',
] as const

export type OverlapFlag = (typeof OVERLAP_FLAGS)[number]

export const OVERLAP_TEMPLATES = ['none', 'constant', 'cached', 'all'] as const

export type OverlapTemplate = (typeof OVERLAP_TEMPLATES)[number]

const CONSTANT: readonly OverlapFlag[] = [
  'main-header',
  'active-l1',
  'refcount-table',
  'snapshot-table',
  'bitmap-directory',
]

/** The checks of a template: those whose places never change, those known from memory, or all. */
export function templateFlags(template: OverlapTemplate): Set<OverlapFlag> {
  switch (template) {
    case 'none':
      return new Set()
    case 'constant':
      return new Set(CONSTANT)
    case 'cached':
      return new Set([...CONSTANT, 'active-l2', 'refcount-block', 'inactive-l1'])
    case 'all':
      return new Set(OVERLAP_FLAGS)
  }
}
