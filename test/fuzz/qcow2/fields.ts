// Where the numbers of an image stand, found by following the image itself: what a mutation aims at.

/** A big-endian number in an image. */
export interface Field {
  name: string
  at: number
  /** In bytes: 1, 2, 4 or 8. */
  width: 1 | 2 | 4 | 8
}

const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n
/** Entries of one table that are listed; more of the same find nothing new. */
const MOST_ENTRIES = 24

/** All fields of the intact image `bytes`. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const image = new ImageReader(bytes)
  return [
    ...headerFields(image),
    ...extensionFields(image),
    ...mappingFields(image, 'active', image.u64(40), image.u32(36)),
    ...refcountFields(image),
    ...snapshotFields(image),
    ...bitmapFields(image),
  ]
}

class ImageReader {
  readonly view: DataView
  readonly clusterSize: number

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.clusterSize = 2 ** this.view.getUint32(20)
  }

  u16(at: number): number {
    return this.has(at, 2) ? this.view.getUint16(at) : 0
  }

  u32(at: number): number {
    return this.has(at, 4) ? this.view.getUint32(at) : 0
  }

  u64(at: number): number {
    return this.has(at, 8) ? Number(this.view.getBigUint64(at)) : 0
  }

  /** The offset bits of a table entry. */
  offset(at: number): number {
    return this.has(at, 8) ? Number(this.view.getBigUint64(at) & OFFSET_MASK) : 0
  }

  has(at: number, bytes: number): boolean {
    return at + bytes <= this.view.byteLength
  }
}

function headerFields(image: ImageReader): Field[] {
  const wide = [8, 24, 40, 48, 64]
  const narrow = [4, 16, 20, 32, 36, 56, 60]
  const version3: Field[] =
    image.u32(4) < 3
      ? []
      : [
          ...[72, 80, 88].map((at): Field => ({ name: `header.${at}`, at, width: 8 })),
          ...[96, 100].map((at): Field => ({ name: `header.${at}`, at, width: 4 })),
          { name: 'header.compression', at: 104, width: 1 },
        ]
  return [
    ...wide.map((at): Field => ({ name: `header.${at}`, at, width: 8 })),
    ...narrow.map((at): Field => ({ name: `header.${at}`, at, width: 4 })),
    ...version3,
  ]
}

function extensionFields(image: ImageReader): Field[] {
  const fields: Field[] = []
  let at = image.u32(4) < 3 ? 72 : image.u32(100)
  for (let count = 0; count < 8 && image.has(at, 8); count++) {
    const type = image.u32(at)
    const length = image.u32(at + 4)
    fields.push({ name: 'extension.type', at, width: 4 }, { name: 'extension.length', at: at + 4, width: 4 })
    if (type === 0) break
    for (let inside = 0; inside + 8 <= Math.min(length, 24); inside += 8) {
      fields.push({ name: 'extension.data', at: at + 8 + inside, width: 8 })
    }
    at += 8 + Math.ceil(length / 8) * 8
  }
  return fields
}

function tableFields(name: string, at: number, entries: number): Field[] {
  return Array.from({ length: Math.min(entries, MOST_ENTRIES) }, (_, i) => ({
    name,
    at: at + i * 8,
    width: 8 as const,
  }))
}

function mappingFields(image: ImageReader, name: string, l1: number, entries: number): Field[] {
  const fields = tableFields(`${name} L1`, l1, entries)
  for (const entry of fields.slice()) {
    const l2 = image.offset(entry.at)
    if (l2 !== 0) fields.push(...tableFields(`${name} L2`, l2, image.clusterSize / 8))
  }
  return fields
}

function refcountFields(image: ImageReader): Field[] {
  const table = image.u64(48)
  const fields = tableFields('refcount table', table, 8)
  for (const entry of fields.slice()) {
    const block = image.offset(entry.at)
    if (block !== 0) fields.push(...tableFields('refcount block', block, image.clusterSize / 8))
  }
  return fields
}

function snapshotFields(image: ImageReader): Field[] {
  const fields: Field[] = []
  let at = image.u64(64)
  for (let count = 0; count < Math.min(image.u32(60), 4) && image.has(at, 40); count++) {
    const named = (from: number, width: Field['width']) => fields.push({ name: 'snapshot', at: at + from, width })
    for (const from of [0, 24, 40, 48]) named(from, 8)
    for (const from of [8, 16, 20, 32, 36]) named(from, 4)
    for (const from of [12, 14]) named(from, 2)
    fields.push(...mappingFields(image, 'snapshot', image.u64(at), image.u32(at + 8)))
    at += Math.ceil((40 + image.u32(at + 36) + image.u16(at + 12) + image.u16(at + 14)) / 8) * 8
  }
  return fields
}

function bitmapFields(image: ImageReader): Field[] {
  const extension = extensionFields(image).find(
    ({ name, at }) => name === 'extension.type' && image.u32(at) === 0x23852875,
  )
  if (extension === undefined) return []
  const fields: Field[] = []
  let at = image.u64(extension.at + 24)
  for (let count = 0; count < image.u32(extension.at + 8) && image.has(at, 24); count++) {
    const named = (from: number, width: Field['width']) => fields.push({ name: 'bitmap', at: at + from, width })
    named(0, 8)
    for (const from of [8, 12, 20]) named(from, 4)
    named(18, 2)
    for (const from of [16, 17]) named(from, 1)
    fields.push(...tableFields('bitmap table', image.u64(at), image.u32(at + 8)))
    at += Math.ceil((24 + image.u32(at + 20) + image.u16(at + 18)) / 8) * 8
  }
  return fields
}
