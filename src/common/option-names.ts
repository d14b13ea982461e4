// Names of generic options, as they stand in option objects and on command lines.

export const BDRV_OPT_CACHE_WB = 'cache.writeback'
export const BDRV_OPT_CACHE_DIRECT = 'cache.direct'
export const BDRV_OPT_CACHE_NO_FLUSH = 'cache.no-flush'
export const BDRV_OPT_READ_ONLY = 'read-only'
export const BDRV_OPT_AUTO_READ_ONLY = 'auto-read-only'
export const BDRV_OPT_DISCARD = 'discard'
export const BDRV_OPT_FORCE_SHARE = 'force-share'
export const BDRV_OPT_NODE_NAME = 'node-name'
export const BDRV_OPT_DRIVER = 'driver'
export const BDRV_OPT_DETECT_ZEROES = 'detect-zeroes'
export const BDRV_OPT_FILENAME = 'filename'

export const BLOCK_OPT_SIZE = 'size'
export const BLOCK_OPT_ENCRYPT = 'encryption'
export const BLOCK_OPT_ENCRYPT_FORMAT = 'encrypt.format'
export const BLOCK_OPT_COMPAT6 = 'compat6'
export const BLOCK_OPT_HWVERSION = 'hwversion'
export const BLOCK_OPT_BACKING_FILE = 'backing_file'
export const BLOCK_OPT_BACKING_FMT = 'backing_fmt'
export const BLOCK_OPT_CLUSTER_SIZE = 'cluster_size'
export const BLOCK_OPT_TABLE_SIZE = 'table_size'
export const BLOCK_OPT_PREALLOC = 'preallocation'
export const BLOCK_OPT_SUBFMT = 'subformat'
export const BLOCK_OPT_COMPAT_LEVEL = 'compat'
export const BLOCK_OPT_LAZY_REFCOUNTS = 'lazy_refcounts'
export const BLOCK_OPT_ADAPTER_TYPE = 'adapter_type'
export const BLOCK_OPT_REDUNDANCY = 'redundancy'
export const BLOCK_OPT_NOCOW = 'nocow'
export const BLOCK_OPT_EXTENT_SIZE_HINT = 'extent_size_hint'
export const BLOCK_OPT_OBJECT_SIZE = 'object_size'
export const BLOCK_OPT_REFCOUNT_BITS = 'refcount_bits'
export const BLOCK_OPT_DATA_FILE = 'data_file'
export const BLOCK_OPT_DATA_FILE_RAW = 'data_file_raw'
export const BLOCK_OPT_COMPRESSION_TYPE = 'compression_type'
export const BLOCK_OPT_EXTL2 = 'extended_l2'

/** How much of a new or grown image is allocated at once. */
export const PREALLOCATION_MODES = ['off', 'metadata', 'falloc', 'full'] as const
export type Preallocation = (typeof PREALLOCATION_MODES)[number]

/** Whether writes of zeroes are detected, and whether those may deallocate. */
export const DETECT_ZEROES_MODES = ['off', 'on', 'unmap'] as const
export type DetectZeroes = (typeof DETECT_ZEROES_MODES)[number]
