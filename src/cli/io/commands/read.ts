// read, readv and aio_read: reading a range, comparing it with a pattern, showing it.

import { type Bytes, concatBytes, flattenBytes } from '../../../common/io-vector.js'
import { backendLoadVmstate } from '../../../io/backend/vmstate.js'
import { errnoText } from '../../error-text.js'
import { getopt } from '../../getopt.js'
import { CommandFailure, type IoCommand, UsageFailure } from '../command.js'
import { readRange, refuseOutside } from '../disk-range.js'
import { byteCount, MAX_REQUEST, patternByte } from '../numbers.js'
import { dumpBuffer, reportTransfer } from '../report.js'
import type { Shell } from '../shell.js'
import { checkSectors, vectorLengths } from '../vector.js'

/** What read buffers hold before they are read into. */
const READ_FILL = 0xab

/** What the options of the three commands say. */
interface ReadOptions {
  machine: boolean
  quiet: boolean
  dump: boolean
  pattern?: number
  vmState: boolean
  invalid: boolean
  patternOffset?: number
  patternBytes?: number
}

/** Reads `words` by the letters in `short`. */
function readOptions(shell: Shell, words: readonly string[], short: string) {
  const options: ReadOptions = { machine: false, quiet: false, dump: false, vmState: false, invalid: false }
  const operands = getopt(words.slice(1), { short }, (letter, argument) => {
    if (letter === 'b') options.vmState = true
    else if (letter === 'C') options.machine = true
    else if (letter === 'i') options.invalid = true
    else if (letter === 'l') options.patternBytes = byteCount(shell, argument)
    else if (letter === 'P') options.pattern = patternByte(argument)
    else if (letter === 'q') options.quiet = true
    else if (letter === 's') options.patternOffset = byteCount(shell, argument)
    else if (letter === 'v') options.dump = true
    return !options.invalid
  })
  return { options, operands }
}

export const readCommand: IoCommand = {
  name: 'read',
  alias: 'r',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-abCqv] [-P pattern [-s off] [-l len]] off len',
  summary: 'reads a number of bytes at a specified offset',
  help: `
 Reads len bytes from off on; offsets and lengths may end in k, M, G, T, P or E.

 read -v 512 1k     shows the kilobyte behind the first sector

 -b         read the state of a virtual machine, not the disk
 -C         print figures in one line, separated by commas
 -l len     compare only len bytes (with -P)
 -p         does nothing
 -P byte    compare what is read with this byte
 -q         print no figures
 -s off     compare from this offset in what is read on (with -P)
 -v         show what is read
`,
  async run(shell, words) {
    const { options, operands } = readOptions(shell, words, 'bCl:pP:qs:v')
    const [offsetText, countText] = operands
    if (offsetText === undefined || countText === undefined || operands.length > 2) throw new UsageFailure()
    const offset = byteCount(shell, offsetText)
    const bytes = byteCount(shell, countText)
    if (bytes > MAX_REQUEST) throw new CommandFailure(`length cannot exceed ${MAX_REQUEST}, given ${countText}`)
    checkPattern(options, bytes)
    if (options.vmState) checkSectors(offset, bytes)
    else refuseOutside(shell, 'read', offset, bytes)
    const { opened, host } = shell
    const buffer = shell.buffer(bytes, READ_FILL)
    const began = shell.now()
    try {
      if (options.vmState) await backendLoadVmstate(opened.backend.root, offset, buffer)
      else await readRange(opened, offset, buffer)
    } catch (thrown) {
      shell.aio.deliver()
      throw new CommandFailure(`read failed: ${errnoText(thrown)}`)
    }
    const seconds = (shell.now() - began) / 1000
    shell.aio.deliver()
    const good = matches(shell, options, buffer, offset)
    if (options.dump && !options.quiet) dumpBuffer(host, buffer, offset)
    if (!options.quiet) reportTransfer(host, { done: 'read', offset, bytes, seconds }, options.machine)
    return good
  },
}

function checkPattern({ pattern, patternOffset, patternBytes }: ReadOptions, bytes: number): void {
  if (pattern === undefined && (patternOffset !== undefined || patternBytes !== undefined)) throw new UsageFailure()
  const start = patternOffset ?? 0
  if (start > bytes || start + (patternBytes ?? 0) > bytes) {
    throw new CommandFailure('pattern verification range exceeds end of read data')
  }
}

/** Compares with the pattern, if there is one; says so where it differs. */
function matches(shell: Shell, options: ReadOptions, buffer: Uint8Array, offset: number): boolean {
  const { pattern, patternOffset: start = 0 } = options
  if (pattern === undefined) return true
  const bytes = options.patternBytes ?? buffer.byteLength - start
  if (buffer.subarray(start, start + bytes).every((byte) => byte === pattern)) return true
  shell.host.out(`Pattern verification failed at offset ${BigInt(offset) + BigInt(start)}, ${bytes} bytes\n`)
  return false
}

export const readvCommand: IoCommand = {
  name: 'readv',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-Cqv] [-P pattern] off len [len..]',
  summary: 'reads a number of bytes at a specified offset',
  help: `
 Reads from off on into buffers of the lengths given, in one request.

 readv -v 512 1k 1k     shows the two kilobytes behind the first sector

 -C         print figures in one line, separated by commas
 -P byte    compare what is read with this byte
 -v         show what is read
 -q         print no figures
`,
  async run(shell, words) {
    const { options, operands } = readOptions(shell, words, 'CP:qv')
    const { offset, into } = readVector(shell, operands, (at, bytes) => refuseOutside(shell, 'readv', at, bytes))
    const { opened } = shell
    const began = shell.now()
    try {
      await readRange(opened, offset, into)
    } catch (thrown) {
      shell.aio.deliver()
      throw new CommandFailure(`readv failed: ${errnoText(thrown)}`)
    }
    const seconds = (shell.now() - began) / 1000
    shell.aio.deliver()
    return showVector(shell, options, { offset, into, seconds })
  },
}

/** The offset, and a buffer for each length; `check` may refuse the range before there are buffers. */
function readVector(
  shell: Shell,
  operands: readonly string[],
  check: (offset: number, bytes: number) => void = () => {},
): { offset: number; into: Bytes } {
  const [offsetText, ...lengths] = operands
  if (offsetText === undefined || lengths.length === 0) throw new UsageFailure()
  const offset = byteCount(shell, offsetText)
  const { parts, total } = vectorLengths(shell, lengths)
  check(offset, total)
  return { offset, into: concatBytes(parts.map((length) => shell.buffer(length, READ_FILL))) }
}

function showVector(
  shell: Shell,
  options: ReadOptions,
  { offset, into, seconds }: { offset: number; into: Bytes; seconds: number },
): boolean {
  const buffer = flattenBytes(into)
  const good = matches(shell, options, buffer, offset)
  if (options.dump && !options.quiet) dumpBuffer(shell.host, buffer, offset)
  if (!options.quiet) {
    reportTransfer(shell.host, { done: 'read', offset, bytes: buffer.byteLength, seconds }, options.machine)
  }
  return good
}

export const aioReadCommand: IoCommand = {
  name: 'aio_read',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-Ciqv] [-P pattern] off len [len..]',
  summary: 'asynchronously reads a number of bytes',
  help: `
 Begins to read as readv does, and goes on at once. What was read is told later; aio_flush waits for it. The command
 counts as done once the read has begun, whatever comes of it.

 aio_read -v 512 1k 1k     shows the two kilobytes behind the first sector

 -C         print figures in one line, separated by commas
 -P byte    compare what is read with this byte
 -i         only count a request as invalid
 -v         show what is read
 -q         print no figures
`,
  run(shell, words) {
    const { options, operands } = readOptions(shell, words, 'CP:iqv')
    const { opened, host, aio } = shell
    if (options.invalid) {
      host.out('injecting invalid read request\n')
      opened.backend.accounting.read.invalid++
      return true
    }
    const { offset, into } = readVector(shell, operands)
    const began = shell.now()
    aio.start(async () => {
      try {
        await readRange(opened, offset, into)
      } catch (thrown) {
        return () => host.out(`readv failed: ${errnoText(thrown)}\n`)
      }
      const seconds = (shell.now() - began) / 1000
      return () => showVector(shell, options, { offset, into, seconds })
    })
    return true
  },
}
