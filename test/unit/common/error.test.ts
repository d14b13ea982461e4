import { describe, expect, it } from 'vitest'
import { errnoMessage, errnoName, errnoNumber, isErrnoName } from '../../../src/common/errno.js'
import { BlockError, quoteOutside, toBlockError } from '../../../src/common/error.js'

describe('errno', () => {
  it.each([
    ['EPERM', 1],
    ['EIO', 5],
    ['EINVAL', 22],
    ['ENOSPC', 28],
    ['ENOTSUP', 95],
    ['ENOMEDIUM', 123],
    ['ECANCELED', 125],
  ] as const)('%s is %d, either way and with either sign', (name, number) => {
    expect([errnoNumber(name), errnoName(number), errnoName(-number)]).toEqual([number, name, name])
  })

  it('takes a number it does not know for an I/O error, and no name it does not know', () => {
    expect([errnoName(0), errnoName(9999)]).toEqual(['EIO', 'EIO'])
    expect(['EIO', 'EWHAT', 'toString', 5, undefined].map(isErrnoName)).toEqual([true, false, false, false, false])
  })

  it('has the words of the C library, or the name', () => {
    expect([errnoMessage('ENOSPC'), errnoMessage('EPROTO')]).toEqual(['No space left on device', 'EPROTO'])
  })
})

describe('BlockError', () => {
  it('names its node', () => {
    const cause = new Error('below')
    const error = new BlockError('ENOSPC', 'the disk is full', { node: 'disk0', op: 'write', hint: 'free some', cause })
    expect(error).toMatchObject({
      name: 'BlockError',
      code: 'ENOSPC',
      node: 'disk0',
      op: 'write',
      hint: 'free some',
      cause,
    })
    expect(error.message).toBe('disk0: the disk is full')
    expect(new BlockError('EIO', 'x').message).toBe('x')
    expect('cause' in new BlockError('EIO', 'x')).toBe(false)
  })
})

describe('toBlockError', () => {
  it('leaves a BlockError as it is, and adds only a node it did not have', () => {
    const bare = new BlockError('EPERM', 'no', { op: 'write', hint: 'ask' })
    expect(toBlockError(bare)).toBe(bare)
    const named = toBlockError(bare, { node: 'n', op: 'read' })
    expect(named).toMatchObject({ code: 'EPERM', node: 'n', op: 'write', hint: 'ask', cause: bare, message: 'n: no' })
    expect(toBlockError(named, { node: 'other' })).toBe(named)
  })

  it('keeps the code of a host error', () => {
    const host = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' })
    expect(toBlockError(host, { node: 'n' })).toMatchObject({ code: 'ENOENT', cause: host })
    expect(toBlockError(Object.assign(new Error(''), { code: 'EOPNOTSUPP' }))).toMatchObject({
      code: 'ENOTSUP',
      message: 'Operation not supported',
    })
    expect(toBlockError(Object.assign(new Error('x'), { code: 'ERR_STREAM' })).code).toBe('EIO')
  })

  it.each([[undefined], [null], ['text'], [5], [{}], [new TypeError('bug')]])('makes an I/O error of %j', (thrown) => {
    const error = toBlockError(thrown)
    expect(error).toBeInstanceOf(BlockError)
    expect(error.code).toBe('EIO')
  })
})

describe('quoteOutside', () => {
  it('escapes control characters and cuts long text', () => {
    expect(quoteOutside('a\n\u0000b\u007f\u009b')).toBe("'a\\x0a\\x00b\\x7f\\x9b'")
    expect(quoteOutside('ä…')).toBe("'ä…'")
    expect(quoteOutside('x'.repeat(256))).toHaveLength(258)
    expect(quoteOutside('x'.repeat(257))).toBe(`'${'x'.repeat(253)}...'`)
  })
})
