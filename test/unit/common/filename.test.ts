import { describe, expect, it } from 'vitest'
import { BlockError } from '../../../src/common/error.js'
import {
  fullBackingFilename,
  pathCombine,
  pathHasProtocol,
  pathIsAbsolute,
  stripPrefix,
} from '../../../src/common/filename.js'

describe('file names', () => {
  it.each([
    ['nbd:localhost', true],
    ['json:{}', true],
    ['a/b:c', false],
    ['/a:b', false],
    [':x', true],
    ['plain', false],
    ['', false],
  ])('%j has a protocol: %j', (path, expected) => {
    expect(pathHasProtocol(path)).toBe(expected)
  })

  it('knows absolute paths', () => {
    expect([pathIsAbsolute('/a'), pathIsAbsolute('a/'), pathIsAbsolute('file:/a'), pathIsAbsolute('')]).toEqual([
      true,
      false,
      false,
      false,
    ])
  })

  it.each([
    ['a.img', 'b.img', 'b.img'],
    ['dir/a.img', 'b.img', 'dir/b.img'],
    ['/x/y/a.img', '../b.img', '/x/y/../b.img'],
    ['dir/', 'b', 'dir/b'],
    ['file:dir/a', 'b', 'file:dir/b'],
    ['nbd:host', 'b', 'nbd:b'],
    ['http://h/x/a', 'b', 'http://h/x/b'],
    ['dir/a', '/abs', '/abs'],
    ['d:r/a/b', 'c', 'd:r/a/c'],
    ['', 'b', 'b'],
  ])('%j combined with %j is %j', (base, name, expected) => {
    expect(pathCombine(base, name)).toBe(expected)
  })

  it.each([
    ['/x/a', '', undefined],
    ['/x/a', 'b', '/x/b'],
    ['x/a', '/b', '/b'],
    ['json:{}', '/b', '/b'],
    ['', 'nbd:h', 'nbd:h'],
    ['file:x/a', 'b', 'file:x/b'],
  ])('the backing file of %j called %j is %j', (backed, backing, expected) => {
    expect(fullBackingFilename(backed, backing)).toBe(expected)
  })

  it.each(['', 'json:{"driver":"raw"}'])('refuses a name relative to %j', (backed) => {
    expect(() => fullBackingFilename(backed, 'b')).toThrow(BlockError)
  })

  it('strips a prefix without making another protocol of the rest', () => {
    expect(stripPrefix('file:a', 'file:')).toBe('a')
    expect(stripPrefix('file:/a:b', 'file:')).toBe('/a:b')
    expect(stripPrefix('file:a:b', 'file:')).toBe('./a:b')
    expect(stripPrefix('nbd:a', 'file:')).toBe('nbd:a')
  })
})
