// Faults to plant in the vhost-user back-end: each takes away one of the rules that docs/internals/vhost-user.md states.

const EXPORT = 'src/exports/vhost-user'

/** @type {import('./mutants.js').Mutant[]} */
export const mutants = [
  {
    name: 'U01: descriptors that no handler took stay open',
    file: `${EXPORT}/connection.ts`,
    find: '    } finally {\n      descriptors.close()\n    }\n',
    replace: '    }\n',
  },
  {
    name: 'U02: a region may go beyond its file',
    file: `${EXPORT}/memory-table.ts`,
    find: 'if (offset + size > info.size) {',
    replace: 'if (offset > info.size) {',
  },
  {
    name: 'U02: a region that was mapped for a table that is refused stays mapped',
    file: `${EXPORT}/memory-table.ts`,
    find: '      for (const region of regions) endRegion(this.ipc, region)\n      throw error',
    replace: '      throw error',
  },
  {
    name: 'U07: memory is replaced while rings run',
    file: `${EXPORT}/ring-set.ts`,
    find: '    const stopped = await this.stopAll()\n    change()',
    replace: '    const stopped = this.rings.filter((ring) => ring.running)\n    change()',
  },
  {
    name: 'U08: rings are not stopped at the end of a connection',
    file: `${EXPORT}/connection.ts`,
    find: '    if (this.table.stillWhole()) await this.rings.stopAll()\n',
    replace: '',
  },
  {
    name: 'split: the last batch is not cleared',
    file: `${EXPORT}/inflight/split-record.ts`,
    find: '    this.clearLastBatch(usedIndex)\n',
    replace: '',
  },
  {
    name: 'split: requests are done again by head, not in their order',
    file: `${EXPORT}/inflight/split-record.ts`,
    find: 'found.sort((a, b) => a.counter - b.counter)',
    replace: 'found.sort((a, b) => a.head - b.head)',
  },
  {
    name: 'packed: a batch that was not shown is not taken back',
    file: `${EXPORT}/inflight/packed-record.ts`,
    find: '      ring.markAvailable(slot, wrap)\n',
    replace: '',
  },
  {
    name: 'packed: a batch is taken for shown',
    file: `${EXPORT}/inflight/packed-record.ts`,
    find: 'returning.length === 0 || !ring.isAvailable(oldUsed, oldWrap)',
    replace: 'true',
  },
  {
    name: 'a record is not forgotten where the front-end knows where a ring stands',
    file: `${EXPORT}/message-handlers.ts`,
    find: '    ring.base = undefined\n    inflight?.forget(ring.index)\n',
    replace: '    ring.base = undefined\n',
  },
  {
    name: 'a record is forgotten though requests that were set aside are left in it',
    file: `${EXPORT}/message-handlers.ts`,
    find: '  if (ring.left === undefined) inflight?.forget(index)\n',
    replace: '  inflight?.forget(index)\n',
  },
  {
    name: 'requests that were set aside are left though nobody keeps them',
    file: `${EXPORT}/ring-set.ts`,
    find: 'keeps = this.isRecorded(ring) && this.host.negotiation.recordTravels',
    replace: 'keeps = true',
  },
  {
    name: 'what was left of a ring goes to a driver that begins anew',
    file: `${EXPORT}/ring-set.ts`,
    find: '    this.checkLeft(ring)\n',
    replace: '',
  },
  {
    name: 'a ring that begins elsewhere does not call its driver',
    file: `${EXPORT}/ring-set.ts`,
    find: '    if (state.usedIndex !== 0 || state.availIndex !== 0) host.callRing(ring)\n',
    replace: '',
  },
  {
    name: 'a call event that comes late is not signalled',
    file: `${EXPORT}/message-handlers.ts`,
    find: "  if (which === 'call' && ring.running) ring.call()\n",
    replace: '',
  },
  {
    name: 'migration: what a ring says is not logged',
    file: 'src/devices/virtio/core/queue-service.ts',
    find: '    log?.ring(lane.index)\n    return wanted',
    replace: '    return wanted',
  },
  {
    name: 'migration: buffers are not logged',
    file: 'src/devices/virtio/core/return-chain.ts',
    find: '  if (lane.log !== undefined) chain.tellWritable(lane.log)\n',
    replace: '',
  },
  {
    name: 'migration: a log may be too short for memory',
    file: `${EXPORT}/dirty-log/write-logging.ts`,
    find: '    checkReach(memory, this.reach(this.host.memoryEnd))\n',
    replace: '',
  },
  {
    name: 'virtio_uml: a packed ring that begins at 0 is taken at its word',
    file: `${EXPORT}/ring-position.ts`,
    find: 'const mayBeFresh = packed && base === 0 && !knowsRecords',
    replace: 'const mayBeFresh = false && base === 0 && !knowsRecords',
  },
]
