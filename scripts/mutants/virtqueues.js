// Faults to plant in virtqueues: each takes away a check of what a driver may write, or a step that keeps both ends in step.

const QUEUE = 'src/devices/virtio/queue'
const DRIVER = 'src/devices/virtio/driver-queue'

/** @type {import('./mutants.js').Mutant[]} */
export const mutants = [
  {
    name: 'V01: a next descriptor may lie outside the table',
    file: `${QUEUE}/split-device-queue.ts`,
    find: '      if (index >= entries) return',
    replace: '      if (index >= 0x1_0000) return',
  },
  {
    name: 'V03: a buffer outside guest memory is left out',
    file: `${QUEUE}/chain-rules.ts`,
    find: "  else if (!memory.pieces(high, low, length, chain)) return 'descriptor outside",
    replace: "  else if (!memory.pieces(high, low, length, chain) && high < 0) return 'descriptor outside",
  },
  {
    name: 'V04: a chain may have more than 2^32-1 bytes',
    file: `${QUEUE}/chain-rules.ts`,
    find: '+ length > VIRTQ_MAX_CHAIN_BYTES',
    replace: '+ length > 2 * VIRTQ_MAX_CHAIN_BYTES',
  },
  {
    name: 'V05: an available index may be ahead by more than the queue',
    file: `${QUEUE}/split-device-queue.ts`,
    find: '    if (ahead > this.size) {',
    replace: '    if (ahead > 0xffff) {',
  },
  {
    name: 'V06: a head may be offered while it is in flight',
    file: `${QUEUE}/taken-heads.ts`,
    find: '    if (this.taken[head] === 1)\n',
    replace: '    if (this.taken[head] === 2)\n',
  },
  {
    name: 'V07: a table may be followed by another descriptor',
    file: `${QUEUE}/split-device-queue.ts`,
    find: '    if ((rest & VIRTQ_DESC_F_NEXT) !== 0) return ',
    replace: '    if ((rest & VIRTQ_DESC_F_NEXT) < 0) return ',
  },
  {
    name: 'V07: a table of any length',
    file: `${QUEUE}/chain-rules.ts`,
    find: '    if (entries > this.limit) {',
    replace: '    if (entries > 0xffff_ffff) {',
  },
  {
    name: 'V08: readable behind writable',
    file: `${QUEUE}/chain-rules.ts`,
    find: '  else if (chain.writing) return',
    replace: '  else if (chain.writing && length > 0xffff_ffff) return',
  },
  {
    name: 'V13: a list may go on with what is not available',
    file: `${QUEUE}/packed-device-queue.ts`,
    find: '      if ((rest & PACKED_TURN_MASK) !== turn) return',
    replace: '      if ((rest & PACKED_TURN_MASK) === 1) return',
  },
  {
    name: 'V13: the turn does not change inside a list that crosses the end',
    file: `${QUEUE}/packed-device-queue.ts`,
    find: '        turn ^= PACKED_TURN_MASK\n',
    replace: '',
  },
  {
    name: 'V13: a list may be longer than what is free',
    file: `${QUEUE}/packed-device-queue.ts`,
    find: '      if (walked === free) break\n',
    replace: '',
  },
  {
    name: 'slots of a list that is back stay taken',
    file: `${QUEUE}/packed-device-queue.ts`,
    find: '    this.free += slots\n',
    replace: '    this.free += 1\n',
  },
  {
    name: 'the first used descriptor of a batch is shown before the rest',
    file: `${QUEUE}/packed-device-queue.ts`,
    find: '      this.heldWord = word\n      this.held = rest\n',
    replace: '      this.heldWord = word\n      this.held = rest\n      this.ring[word] = le32(rest)\n',
  },
  {
    name: 'a device that asks for notifications does not look again',
    file: `${QUEUE}/split-device-queue.ts`,
    find: '    return this.fault === undefined && (this.heads.earlier > 0 || this.look())',
    replace: '    return this.fault === undefined && this.heads.earlier > 0',
  },
  {
    name: 'in order: what completes early goes back at once',
    file: `${QUEUE}/return-order.ts`,
    find: '    if (!this.ready) return -1\n',
    replace: '    if (this.count === 0) return -1\n',
  },
  {
    name: 'in order: a chain that was not written whole may be skipped',
    file: `${QUEUE}/return-order.ts`,
    find: 'this.length !== this.writable[head] || !this.ready',
    replace: '!this.ready',
  },
  {
    name: 'an event at the first slot of a batch is passed over',
    file: 'src/protocols/virtio/packed-ring.ts',
    find: 'slot >= next - slots',
    replace: 'slot > next - slots',
  },
  {
    name: 'an event of the turn before is taken for one of this turn',
    file: 'src/protocols/virtio/packed-ring.ts',
    find: '=== wrap ? offset : offset - size',
    replace: '=== wrap ? offset : offset',
  },
  {
    name: 'a tracker hears of the index before the driver can see it',
    file: `${QUEUE}/split-device-queue.ts`,
    find: '    Atomics.store(this.used, RING_INDEX_WORD, le16(now))\n    this.shownUsed = now\n    this.tracker?.published(now, false)\n',
    replace:
      '    this.tracker?.published(now, false)\n    Atomics.store(this.used, RING_INDEX_WORD, le16(now))\n    this.shownUsed = now\n',
  },
  {
    name: 'a driver takes any head for one of its own',
    file: `${DRIVER}/split-driver-queue.ts`,
    find: ' || this.chainLength[head] === 0) throw',
    replace: ') throw',
  },
  {
    name: 'the first descriptor of a batch is available before the rest',
    file: `${DRIVER}/packed-driver-queue.ts`,
    find: '      this.heldWord = word + 3\n      this.held = rest\n',
    replace: '      this.heldWord = word + 3\n      this.held = rest\n      this.ring[word + 3] = le32(rest)\n',
  },
  {
    name: 'a driver that asks for notifications does not look again',
    file: `${DRIVER}/packed-driver-queue.ts`,
    find: '    return this.usedSlots(ahead + 1) > ahead',
    replace: '    return this.usedSlots(ahead + 1) < 0',
  },
  {
    name: 'across regions: entries are read before the index that shows them',
    file: `${QUEUE}/mirrored/mirrored-split-queue.ts`,
    find: '    const index = this.avail.load(RING_INDEX_WORD)\n    if (index === this.seen) return\n    this.seen = index\n    this.pullChains()\n',
    replace:
      '    this.pullChains()\n    const index = this.avail.load(RING_INDEX_WORD)\n    if (index === this.seen) return\n    this.seen = index\n',
  },
  {
    name: 'across regions: used elements behind the end of the ring are not written',
    file: `${QUEUE}/mirrored/mirrored-split-queue.ts`,
    find: '    this.used.push(origin, ELEMENT * (count - first))\n',
    replace: '',
  },
  {
    name: 'across regions: a tracker hears of the index before the driver can see it',
    file: `${QUEUE}/mirrored/mirrored-queue.ts`,
    find: '    published: () => {},\n',
    replace: '    published: (index, wrap) => tracker.published(index, wrap),\n',
  },
  {
    name: 'across regions: a device that asks for notifications does not look again',
    file: `${QUEUE}/mirrored/mirrored-queue.ts`,
    find: '    this.pushWishes()\n    this.look()\n',
    replace: '    this.pushWishes()\n',
  },
  {
    name: 'across regions: the first used descriptor of a batch alone is written',
    file: `${QUEUE}/mirrored/mirrored-packed-queue.ts`,
    find: '    for (let i = 1; i < slots; i++) this.ring.push(4 * this.slotBehind(old.usedIndex, i) + 2, 2)\n',
    replace: '',
  },
  {
    name: 'across regions: slots are looked at in the turn before',
    file: `${QUEUE}/mirrored/mirrored-packed-queue.ts`,
    find: 'usedIndex + behind < this.size ? usedWrap : !usedWrap',
    replace: 'usedWrap',
  },
  {
    name: 'across regions: a driver that offers more than there are slots is not noticed',
    file: `${QUEUE}/mirrored/mirrored-packed-queue.ts`,
    find: '    if (this.taken >= this.size) this.ring.load(4 * usedIndex + 3)\n',
    replace: '',
  },
]
