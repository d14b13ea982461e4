import { describe, expect, it } from 'vitest'
import { coarseChoices, crashChoices } from '../../../../src/testing/crash/crash-choices.js'
import { seededRandom } from '../../../../src/testing/crash/seeded-random.js'

const choicesOf = (parts: readonly number[]) => [...crashChoices(parts, seededRandom(1))]
const wholes = (parts: readonly number[]) =>
  choicesOf(parts).filter(({ kept, swapped }) => swapped === undefined && kept.every((one) => typeof one === 'boolean'))
const texts = (kept: readonly (readonly unknown[])[]) =>
  new Set(kept.map((one) => one.map((part) => (part === true ? 'x' : '.')).join('')))

describe('crash choices', () => {
  it('are every subset of a small window, with and without its changes of length', () => {
    const kept = texts(wholes(new Array<number>(10).fill(1)).map((choice) => choice.kept))
    expect(kept.size).toBe(1024)
    for (const lengths of ['kept', 'lost'])
      expect(wholes([1, 1, 1]).filter((choice) => choice.lengths === lengths)).toHaveLength(8)
  })

  it('of a large window are none, all, each alone, all but each, prefixes, and random ones', () => {
    const kept = texts(wholes(new Array<number>(12).fill(1)).map((choice) => choice.kept))
    const line = (at: (index: number) => boolean) =>
      Array.from({ length: 12 }, (_, index) => (at(index) ? 'x' : '.')).join('')
    for (let index = 0; index < 12; index++) {
      expect(kept).toContain(line((at) => at === index))
      expect(kept).toContain(line((at) => at !== index))
      expect(kept).toContain(line((at) => at < index))
    }
    expect(kept).toContain(line(() => true))
    expect(kept.size).toBeGreaterThan(12 * 3 + 50)
  })

  it('swap every two neighbours', () => {
    const swapped = choicesOf(new Array<number>(12).fill(1)).flatMap((choice) => choice.swapped ?? [])
    expect(new Set(swapped)).toEqual(new Set(Array.from({ length: 11 }, (_, index) => index)))
  })

  it('tear what is longer than a sector: first half, last half, random sectors, alone and with the rest', () => {
    const torn = choicesOf([1, 5, 1]).filter(({ kept }) => Array.isArray(kept[1]))
    const kept = torn.filter(({ lengths }) => lengths === 'kept').map((choice) => choice.kept)
    expect(kept).toContainEqual([false, [0, 1, 2], false])
    expect(kept).toContainEqual([true, [0, 1, 2], true])
    expect(kept).toContainEqual([false, [3, 4], false])
    expect(kept).toContainEqual([true, [3, 4], true])
    expect(kept).toHaveLength(6)
  })

  it('are few where only the coarse ones are asked for, and one for an empty window', () => {
    expect(coarseChoices(20)).toHaveLength(4)
    expect(texts(choicesOf([]).map(({ kept }) => kept)).size).toBe(1)
  })
})
