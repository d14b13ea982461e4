// Faults to plant in qcow2: each takes away one of the rules of order that docs/internals/crash-consistency.md lists.

const QCOW2 = 'src/drivers/qcow2'

/** @type {import('./mutants.js').Mutant[]} */
export const mutants = [
  {
    name: 'O1: an L2 entry does not wait for the refcount of its cluster',
    file: `${QCOW2}/data/cow.ts`,
    find: '    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)\n',
    replace: '',
  },
  {
    name: 'O1: an L2 entry that is linked at once does not wait for the refcount of its cluster',
    file: `${QCOW2}/data/cow.ts`,
    find: '  if (!postponesRefcounts(state)) background(state.node, l2Cache.dependOn(state.refcountCache))\n',
    replace: '',
  },
  {
    name: 'O1: the entry of a compressed cluster does not wait for its refcount',
    file: `${QCOW2}/data/write-compressed.ts`,
    find: '    if (!postponesRefcounts(state)) await l2Cache.dependOn(state.refcountCache)\n',
    replace: '',
  },
  {
    name: 'O2: an L1 entry does not wait for its new L2 table',
    file: `${QCOW2}/metadata/l2-tables.ts`,
    find: '    await l2Cache.flush()\n    await barrier(state)\n',
    replace: '',
  },
  {
    name: 'O2: a new L2 table is written but not durable when the L1 entry is written',
    file: `${QCOW2}/metadata/l2-tables.ts`,
    find: '    await l2Cache.flush()\n    await barrier(state)\n',
    replace: '    await l2Cache.flush()\n',
  },
  {
    name: 'O3: an L2 entry does not wait for the data of its cluster',
    file: `${QCOW2}/data/cow.ts`,
    find: '  l2Cache.dependOnFlush()\n',
    replace: '',
  },
  {
    name: 'O3: the entry of a compressed cluster does not wait for its data',
    file: `${QCOW2}/data/write-compressed.ts`,
    find: '    l2Cache.dependOnFlush()\n',
    replace: '',
  },
  {
    name: 'O4: a lowered refcount does not wait for the entry that is removed',
    file: `${QCOW2}/refcounts/refcounts.ts`,
    find: '  if (delta < 0) await state.refcountCache.dependOn(state.l2Cache)\n',
    replace: '',
  },
  {
    name: 'O4: a cluster is handed out again before its old entry is gone',
    file: `${QCOW2}/metadata/flush.ts`,
    find: 'return state.freed.has(cluster, count) ? settleFreed(state) : undefined',
    replace: 'return count < 0 && state.freed.has(cluster, count) ? settleFreed(state) : undefined',
  },
  {
    name: 'O4: the host may discard a cluster before its old entry is gone',
    file: `${QCOW2}/metadata/flush.ts`,
    find: '  refuseCorrupt(state)\n  await state.l2Cache.flush()\n',
    replace: '  refuseCorrupt(state)\n  await passDiscards(state)\n  await state.l2Cache.flush()\n',
  },
  {
    name: 'O5: the refcount table names a block that is not there yet',
    file: `${QCOW2}/refcounts/refcount-growth.ts`,
    find: '    await state.refcountCache.flush()\n    await barrier(state)\n',
    replace: '',
  },
  {
    name: 'O5: the refcount table names a block that is not durable',
    file: `${QCOW2}/refcounts/refcount-growth.ts`,
    find: '    await state.refcountCache.flush()\n    await barrier(state)\n',
    replace: '    await state.refcountCache.flush()\n',
  },
  {
    name: 'O5: the header names a refcount table that is not durable',
    file: `${QCOW2}/refcounts/refcount-area.ts`,
    find: '    await write(state.file, tableOffset, table.bytes)\n    await barrier(state)\n',
    replace: '    await write(state.file, tableOffset, table.bytes)\n',
  },
  {
    name: 'O6: the header names an L1 table that is not durable',
    file: `${QCOW2}/metadata/grow-l1.ts`,
    find: '    await settleMetadata(state)\n    await barrier(state)\n',
    replace: '',
  },
  {
    name: 'O7: the header names a snapshot whose references are not counted on disk',
    file: `${QCOW2}/snapshots/snapshot-tables.ts`,
    find: "    await settleMetadata(state)\n    await barrier(state)\n  } catch (error) {\n    await freeClusters(state, offset, bytes, 'never')\n",
    replace: "  } catch (error) {\n    await freeClusters(state, offset, bytes, 'never')\n",
  },
  {
    name: 'O7: references of a deleted snapshot are dropped while the header names it',
    file: `${QCOW2}/snapshots/snapshots.ts`,
    find: `    await takeSnapshots(state, await prepareSnapshots(state, without(state.snapshots, index)))
    await countToTheEnd(state, async () => {
      await dropTreeReferences(state, l1, 'snapshot')
`,
    replace: `    await dropTreeReferences(state, l1, 'snapshot')
    await takeSnapshots(state, await prepareSnapshots(state, without(state.snapshots, index)))
    await countToTheEnd(state, async () => {
`,
  },
  {
    name: 'O7: references are counted while nothing says so',
    file: `${QCOW2}/snapshots/counting.ts`,
    find: '  if (state.header.version >= 3 && !isDirty(state)) await setDirtyBit(state)\n',
    replace: '  if (state.header.version < 3 && isDirty(state)) await setDirtyBit(state)\n',
  },
  {
    name: 'O7: the dirty bit goes before counts and copied flags are durable',
    file: `${QCOW2}/snapshots/counting.ts`,
    find: `  await settleMetadata(state)
  await barrier(state)
  if (!state.settings.lazyRefcounts) await clearDirtyBit(state)
`,
    replace: `  if (!state.settings.lazyRefcounts) await clearDirtyBit(state)
  await settleMetadata(state)
  await barrier(state)
`,
  },
  {
    name: 'O1: the header of a new image names that of LUKS while its clusters are not counted on disk',
    file: `${QCOW2}/image/create.ts`,
    find: '    await state.refcountCache.flush()\n    await barrier(state)\n',
    replace: '',
  },
  {
    name: 'O7: a snapshot becomes the disk before its references are counted on disk',
    file: `${QCOW2}/snapshots/snapshot-apply.ts`,
    find: `async function makeReferencesDurable(state: Qcow2State): Promise<void> {
  await settleMetadata(state)
  await barrier(state)
`,
    replace: `async function makeReferencesDurable(_state: Qcow2State): Promise<void> {
`,
  },
  {
    name: 'O8: the dirty bit is set in memory only',
    file: `${QCOW2}/metadata/header-update.ts`,
    find: "  await writeHeaderFields(state, 'features', { incompatibleFeatures: incompatibleFeatures | INCOMPATIBLE_DIRTY })\n",
    replace: '  state.header.incompatibleFeatures = incompatibleFeatures | INCOMPATIBLE_DIRTY\n',
  },
  {
    name: 'O8: the dirty bit is cleared while refcounts are not durable',
    file: `${QCOW2}/metadata/flush.ts`,
    find: '    await settleMetadata(state)\n    await barrier(state)\n    await clearDirtyBit(state)\n',
    replace: '    await clearDirtyBit(state)\n    await settleMetadata(state)\n    await barrier(state)\n',
  },
  {
    name: 'the first sector names the new place of what follows it before that is durable',
    file: `${QCOW2}/metadata/first-cluster.ts`,
    find: `      await put(state, moved, start, moved.byteLength)
      await put(state, moved, 0, BDRV_SECTOR_SIZE)
    },
    () =>`,
    replace: `      await put(state, moved, 0, BDRV_SECTOR_SIZE)
      await put(state, moved, start, moved.byteLength)
    },
    () =>`,
  },
  {
    name: 'O9: unknown autoclear bits outlive the first write',
    file: `${QCOW2}/metadata/writing.ts`,
    find: '  if (known !== state.header.autoclearFeatures) await writeHeader(state, { autoclearFeatures: known })\n',
    replace: '  if (known < 0n) await writeHeader(state, { autoclearFeatures: known })\n',
  },
  {
    name: 'O10: a bitmap is not marked as in use',
    file: `${QCOW2}/bitmaps/bitmaps.ts`,
    find: '  if (!readOnly) await markBitmapsInUse(state)\n',
    replace: '',
  },
  {
    name: 'O10: the header names bitmaps that are not durable',
    file: `${QCOW2}/bitmaps/bitmaps.ts`,
    find: "    await settleMetadata(state)\n    await barrier(state)\n  } catch (error) {\n    await freeClusters(state, offset, bytes.byteLength, 'never')\n",
    replace: "  } catch (error) {\n    await freeClusters(state, offset, bytes.byteLength, 'never')\n",
  },
  {
    name: 'O12: a table that could not be written counts as written',
    file: `${QCOW2}/metadata/metadata-cache.ts`,
    find: '      if (this.#entries.get(entry.offset) === entry) this.markDirty(entry)\n',
    replace: '',
  },
  {
    name: 'O13: a flush leaves tables in memory',
    file: `${QCOW2}/index.ts`,
    find: '    flushToOs: () => flushReached(state),\n',
    replace: '',
  },
]
