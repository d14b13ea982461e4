import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { outputOf } from '../../../src/cli/output.js'

/** A descriptor that takes `step` bytes at a time and `room` in all, then fails with `code`. */
function descriptor(step: number, room: number, code: string) {
  let taken = ''
  const stream = new PassThrough()
  let left = room
  const output = outputOf({
    write(bytes) {
      if (left === 0) throw Object.assign(new Error(code), { code })
      const part = bytes.subarray(0, Math.min(step, left))
      taken += new TextDecoder().decode(part)
      left -= part.byteLength
      return part.byteLength
    },
    stream: () => stream,
  })
  return { output, taken: () => taken, streamed: () => String(stream.read() ?? '') }
}

test('a descriptor that takes parts gets the whole text', () => {
  const { output, taken, streamed } = descriptor(2, 100, 'EAGAIN')
  output('hello')
  output(' you')
  expect([taken(), streamed()]).toEqual(['hello you', ''])
})

test('what does not fit at once goes to the stream, and all that follows', () => {
  const { output, taken, streamed } = descriptor(10, 4, 'EAGAIN')
  output('hello')
  output(' you')
  expect([taken(), streamed()]).toEqual(['hell', 'o you'])
})

test('nobody reads any more: the rest is lost, and nothing thrown', () => {
  const { output, taken, streamed } = descriptor(10, 4, 'EPIPE')
  output('hello')
  output(' you')
  expect([taken(), streamed()]).toEqual(['hell', ''])
})
