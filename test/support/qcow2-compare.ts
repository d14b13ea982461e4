// What of a qcow2 image two programs can be held to: everything but the dates of snapshots, and what stands in free clusters.

import { ImageBytes } from './qcow2-bytes.js'

/** The image without dates, free clusters zeroed, cut where nothing but zeroes follows. */
export function comparableImage(bytes: Uint8Array): Uint8Array {
  const image = new ImageBytes(new Uint8Array(bytes))
  blankDates(image)
  const { clusterSize } = image
  for (let at = 0; at < image.bytes.byteLength; at += clusterSize) {
    if (isFree(image, at / clusterSize)) image.bytes.fill(0, at, at + clusterSize)
  }
  let end = image.bytes.byteLength
  while (end > 0 && image.bytes[end - 1] === 0) end--
  return image.bytes.subarray(0, end)
}

function isFree(image: ImageBytes, cluster: number): boolean {
  const { refcountBlockEntries } = image.layout
  const block = image.get64(image.refcountTableAt + Math.floor(cluster / refcountBlockEntries) * 8)
  return block === 0n || image.refcount(cluster) === 0n
}

/** Seconds and nanoseconds of each snapshot become 0. */
function blankDates(image: ImageBytes): void {
  let at = Number(image.get64(64))
  for (let left = image.get32(60); left > 0; left--) {
    const view = new DataView(image.bytes.buffer)
    const texts = view.getUint16(at + 12) + view.getUint16(at + 14)
    const extra = image.get32(at + 36)
    image.put64(at + 16, 0)
    at += Math.ceil((40 + extra + texts) / 8) * 8
  }
}

/** The first cluster in which two comparable images differ, for a message; undefined where they are equal. */
export function firstDifferentCluster(a: Uint8Array, b: Uint8Array, clusterSize: number): number | undefined {
  const length = Math.max(a.byteLength, b.byteLength)
  for (let at = 0; at < length; at++) if ((a[at] ?? 0) !== (b[at] ?? 0)) return Math.floor(at / clusterSize)
  return undefined
}
