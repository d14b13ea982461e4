// Entries of a refcount block: 1 to 64 bits wide, those narrower than a byte packed from its least significant bit on
// (qcow2 specification, "Host cluster management"). Counts beyond 2^53 - 1 read as that.

import { highHalf, lowHalf } from '../../../common/units.js'

/** The count at `index`, of 2^`order` bits. */
export function readRefcount(view: DataView, index: number, order: number): number {
  switch (order) {
    case 0:
      return (view.getUint8(index >>> 3) >>> (index & 7)) & 1
    case 1:
      return (view.getUint8(index >>> 2) >>> ((index & 3) * 2)) & 3
    case 2:
      return (view.getUint8(index >>> 1) >>> ((index & 1) * 4)) & 15
    case 3:
      return view.getUint8(index)
    case 4:
      return view.getUint16(index * 2)
    case 5:
      return view.getUint32(index * 4)
    default: {
      const value = view.getUint32(index * 8) * 0x1_0000_0000 + view.getUint32(index * 8 + 4)
      return Math.min(value, Number.MAX_SAFE_INTEGER)
    }
  }
}

/** Sets the count at `index`; `count` fits its width. */
export function writeRefcount(view: DataView, index: number, order: number, count: number): void {
  switch (order) {
    case 0:
      setBits(view, index >>> 3, index & 7, 1, count)
      return
    case 1:
      setBits(view, index >>> 2, (index & 3) * 2, 3, count)
      return
    case 2:
      setBits(view, index >>> 1, (index & 1) * 4, 15, count)
      return
    case 3:
      view.setUint8(index, count)
      return
    case 4:
      view.setUint16(index * 2, count)
      return
    case 5:
      view.setUint32(index * 4, count)
      return
    default:
      view.setUint32(index * 8, highHalf(count))
      view.setUint32(index * 8 + 4, lowHalf(count))
  }
}

function setBits(view: DataView, byte: number, shift: number, mask: number, bits: number): void {
  view.setUint8(byte, (view.getUint8(byte) & ~(mask << shift)) | (bits << shift))
}
