import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SectorImage } from '../../../../src/testing/crash/sector-image.js'
import { contentOf, storageOf } from '../../../../src/testing/storage/memory-storage.js'

const contentOfImage = (image: SectorImage) => {
  const content = new Uint8Array(image.length)
  image.read(0, content)
  return content
}

type Step =
  | { type: 'write'; offset: number; bytes: number; value: number }
  | { type: 'zero' | 'discard'; offset: number; bytes: number }
  | { type: 'resize'; length: number }

const offset = fc.nat({ max: 4000 })
const bytes = fc.integer({ min: 1, max: 1500 })
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ type: fc.constant('write' as const), offset, bytes, value: fc.nat({ max: 255 }) }),
  fc.record({ type: fc.constantFrom('zero' as const, 'discard' as const), offset, bytes }),
  fc.record({ type: fc.constant('resize' as const), length: fc.nat({ max: 5000 }) }),
)

function applyTo(image: SectorImage, one: Step): void {
  if (one.type === 'write') image.write(one.offset, new Uint8Array(one.bytes).fill(one.value))
  else if (one.type === 'resize') image.resize(one.length)
  else image[one.type](one.offset, one.bytes)
}

function applyToBuffer(buffer: Uint8Array, one: Step): Uint8Array {
  const end = one.type === 'resize' ? one.length : one.offset + one.bytes
  const length = one.type === 'resize' ? end : one.type === 'discard' ? buffer.length : Math.max(buffer.length, end)
  const after = new Uint8Array(length)
  after.set(buffer.subarray(0, length))
  if (one.type !== 'resize') after.fill(one.type === 'write' ? one.value : 0, one.offset, end)
  return after
}

describe('SectorImage', () => {
  it('agrees with a flat buffer, and equal contents have equal keys', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const image = new SectorImage(1000)
        let buffer: Uint8Array = new Uint8Array(1000)
        for (const one of steps) {
          applyTo(image, one)
          buffer = applyToBuffer(buffer, one)
        }
        expect(Buffer.compare(contentOfImage(image), buffer)).toBe(0)
        expect(Buffer.compare(contentOf(image.toStore()), buffer)).toBe(0)
        expect(SectorImage.of(storageOf(buffer)).key).toBe(image.key)
      }),
      { numRuns: 200 },
    )
  })

  it('has another key for another content, another place and another length', () => {
    const image = SectorImage.of(storageOf(new Uint8Array(4096).fill(3)))
    const { key } = image
    const changed = (change: (copy: SectorImage) => void) => {
      const copy = image.clone()
      change(copy)
      return copy.key
    }
    const keys = [
      key,
      changed((copy) => copy.write(100, new Uint8Array([4]))),
      changed((copy) => copy.write(612, new Uint8Array([4]))),
      changed((copy) => copy.zero(0, 512)),
      changed((copy) => copy.zero(512, 512)),
      changed((copy) => copy.resize(4095)),
      changed((copy) => copy.resize(8192)),
    ]
    expect(new Set(keys).size).toBe(keys.length)
    expect(image.key).toBe(key)
  })

  it('holds a sparse image of any length', () => {
    const image = new SectorImage(2 ** 50)
    image.write(2 ** 49, new Uint8Array([1]))
    const { key } = image
    image.zero(0, 2 ** 48)
    expect(image.key).toBe(key)
    image.zero(0, 2 ** 50)
    expect(image.key).toBe(new SectorImage(2 ** 50).key)
  })
})
