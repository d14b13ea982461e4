// Faults to plant in qcow2: each takes away one of the rules of order that docs/internals/crash-consistency.md lists.

const QCOW2 = 'src/drivers/qcow2'

/** @type {import('./mutants.js').Mutant[]} */
export const mutants = [
  {
    name: 'O1: an L2 entry does not wait for the refcount of its cluster',
    file: `${QCOW2}/cow.ts`,
    find: '    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)\n',
    replace: '',
  },
  {
    name: 'O1: the entry of a compressed cluster does not wait for its refcount',
    file: `${QCOW2}/write-compressed.ts`,
    find: '    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)\n',
    replace: '',
  },
  {
    name: 'O2: an L1 entry does not wait for its new L2 table',
    file: `${QCOW2}/l2-tables.ts`,
    find: '    await l2Cache.flush()\n    await barrier(state)\n',
    replace: '',
  },
  {
    name: 'O2: a new L2 table is written but not durable when the L1 entry is written',
    file: `${QCOW2}/l2-tables.ts`,
    find: '    await l2Cache.flush()\n    await barrier(state)\n',
    replace: '    await l2Cache.flush()\n',
  },
  {
    name: 'O3: an L2 entry does not wait for the data of its cluster',
    file: `${QCOW2}/cow.ts`,
    find: '    l2Cache.dependOnFlush()\n',
    replace: '',
  },
  {
    name: 'O3: the entry of a compressed cluster does not wait for its data',
    file: `${QCOW2}/write-compressed.ts`,
    find: '    l2Cache.dependOnFlush()\n',
    replace: '',
  },
  {
    name: 'O4: a lowered refcount does not wait for the entry that is removed',
    file: `${QCOW2}/refcounts.ts`,
    find: '  if (delta < 0) await state.refcountCache.dependOn(state.l2Cache)\n',
    replace: '',
  },
  {
    name: 'O4: a cluster is handed out again before its old entry is gone',
    file: `${QCOW2}/flush.ts`,
    find: 'return state.freed.has(cluster, count) ? settleFreed(state) : undefined',
    replace: 'return count < 0 && state.freed.has(cluster, count) ? settleFreed(state) : undefined',
  },
  {
    name: 'O4: the host may discard a cluster before its old entry is gone',
    file: `${QCOW2}/flush.ts`,
    find: '  refuseCorrupt(state)\n  await state.l2Cache.flush()\n',
    replace: '  refuseCorrupt(state)\n  await passDiscards(state)\n  await state.l2Cache.flush()\n',
  },
  {
    name: 'O5: the refcount table names a block that is not there yet',
    file: `${QCOW2}/refcount-growth.ts`,
    find: '    await state.refcountCache.flush()\n    await barrier(state)\n',
    replace: '',
  },
  {
    name: 'O5: the refcount table names a block that is not durable',
    file: `${QCOW2}/refcount-growth.ts`,
    find: '    await state.refcountCache.flush()\n    await barrier(state)\n',
    replace: '    await state.refcountCache.flush()\n',
  },
  {
    name: 'O5: the header names a refcount table that is not durable',
    file: `${QCOW2}/refcount-growth.ts`,
    find: '  await write(state.file, tableOffset, table.bytes)\n  await barrier(state)\n',
    replace: '  await write(state.file, tableOffset, table.bytes)\n',
  },
  {
    name: 'O12: a table that could not be written counts as written',
    file: `${QCOW2}/metadata-cache.ts`,
    find: '      if (this.#entries.get(entry.offset) === entry) this.markDirty(entry)\n',
    replace: '',
  },
  {
    name: 'O13: a flush leaves tables in memory',
    file: `${QCOW2}/index.ts`,
    find: '    flushToOs: () => flushMetadata(state),\n',
    replace: '',
  },
]
