// write, writev and aio_write: writing a pattern, the content of a file, or zeroes.

import { readFileSync } from 'node:fs'
import { type Bytes, concatBytes } from '../../../common/io-vector.js'
import { BLK_PERM_WRITE } from '../../../common/permissions.js'
import {
  BDRV_REQ_FUA,
  BDRV_REQ_MAY_UNMAP,
  BDRV_REQ_NO_FALLBACK,
  BDRV_REQ_WRITE_COMPRESSED,
} from '../../../common/request.js'
import { backendSaveVmstate } from '../../../io/backend/vmstate.js'
import { errnoText } from '../../error-text.js'
import { getopt } from '../../getopt.js'
import { CommandFailure, HostFailure, type IoCommand, UsageFailure } from '../command.js'
import { refuseOutside, writeRange, zeroRange } from '../disk-range.js'
import { byteCount, MAX_REQUEST, patternByte } from '../numbers.js'
import { reportTransfer, type Transfer } from '../report.js'
import type { Shell } from '../shell.js'
import { checkSectors, vectorLengths } from '../vector.js'

/** What is written where no pattern is given. */
const WRITE_FILL = 0xcd

/** What the options of the three commands say. */
interface WriteOptions {
  vmState: boolean
  compressed: boolean
  machine: boolean
  quiet: boolean
  zeroes: boolean
  invalid: boolean
  flags: number
  pattern?: number
  source?: string
}

/** Reads `words` by the letters in `short`. */
function writeOptions(words: readonly string[], short: string) {
  const options: WriteOptions = {
    vmState: false,
    compressed: false,
    machine: false,
    quiet: false,
    zeroes: false,
    invalid: false,
    flags: 0,
  }
  const operands = getopt(words.slice(1), { short }, (letter, argument) => {
    if (letter === 'b') options.vmState = true
    else if (letter === 'c') options.compressed = true
    else if (letter === 'C') options.machine = true
    else if (letter === 'f') options.flags |= BDRV_REQ_FUA
    else if (letter === 'i') options.invalid = true
    else if (letter === 'n') options.flags |= BDRV_REQ_NO_FALLBACK
    else if (letter === 'P') options.pattern = patternByte(argument)
    else if (letter === 'q') options.quiet = true
    else if (letter === 's') options.source = argument
    else if (letter === 'u') options.flags |= BDRV_REQ_MAY_UNMAP
    else if (letter === 'z') options.zeroes = true
    return !options.invalid
  })
  return { options, operands }
}

function report(shell: Shell, options: WriteOptions, transfer: Omit<Transfer, 'done'>): void {
  if (!options.quiet) reportTransfer(shell.host, { done: 'wrote', ...transfer }, options.machine)
}

export const writeCommand: IoCommand = {
  name: 'write',
  alias: 'w',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-bcCfnquz] [-P pattern | -s source_file] off len',
  summary: 'writes a number of bytes at a specified offset',
  needs: BLK_PERM_WRITE,
  help: `
 Writes len bytes from off on, each of them 0xcd unless something else is asked for.

 write 512 1k     writes the kilobyte behind the first sector

 -b         write the state of a virtual machine, not the disk
 -c         compress what is written
 -C         print figures in one line, separated by commas
 -f         have it on stable storage when the write is done
 -n         fail where zeroes cannot be made fast (with -z)
 -p         does nothing
 -P byte    write this byte
 -q         print no figures
 -s file    write the content of this file, again and again
 -u         zeroes may free what they cover (with -z)
 -z         write zeroes without a buffer
`,
  async run(shell, words) {
    const { options, operands } = writeOptions(words, 'bcCfnpP:qs:uz')
    const [offsetText, countText] = operands
    if (offsetText === undefined || countText === undefined || operands.length > 2) throw new UsageFailure()
    refuseContradictions(options)
    const offset = byteCount(shell, offsetText)
    const bytes = byteCount(shell, countText)
    const noFallback = (options.flags & BDRV_REQ_NO_FALLBACK) !== 0
    if (bytes > MAX_REQUEST && !noFallback) {
      throw new CommandFailure(`length cannot exceed ${MAX_REQUEST} without -n, given ${countText}`)
    }
    if (options.vmState || options.compressed) checkSectors(offset, bytes)
    if (!options.vmState) refuseOutside(shell, 'write', offset, bytes)
    const data = options.zeroes ? undefined : sourceData(shell, options, bytes)
    const began = shell.now()
    try {
      await writeAs(shell, options, { offset, bytes, data })
    } catch (thrown) {
      shell.aio.deliver()
      throw new CommandFailure(`write failed: ${errnoText(thrown)}`)
    }
    const seconds = (shell.now() - began) / 1000
    shell.aio.deliver()
    report(shell, options, { offset, bytes, seconds })
    return true
  },
}

function refuseContradictions({ vmState, compressed, zeroes, flags, pattern, source }: WriteOptions): void {
  const refuse = (message: string) => {
    throw new CommandFailure(message)
  }
  if (vmState && zeroes) refuse('-b and -z cannot be specified at the same time')
  if ((flags & BDRV_REQ_FUA) !== 0 && (vmState || compressed)) {
    refuse('-f and -b or -c cannot be specified at the same time')
  }
  if ((flags & BDRV_REQ_NO_FALLBACK) !== 0 && !zeroes) refuse('-n requires -z to be specified')
  if ((flags & BDRV_REQ_MAY_UNMAP) !== 0 && !zeroes) refuse('-u requires -z to be specified')
  if (Number(zeroes) + Number(pattern !== undefined) + Number(source !== undefined) > 1) {
    refuse('Only one of -z, -P, and -s can be specified at the same time')
  }
}

/** The bytes to write: a pattern, or the content of a file as often as it takes. */
function sourceData(shell: Shell, { pattern, source }: WriteOptions, bytes: number): Uint8Array {
  const buffer = shell.buffer(bytes, pattern ?? WRITE_FILL)
  if (source === undefined) return buffer
  const content = sourceFile(source)
  for (let at = 0; at < bytes; at += content.byteLength) buffer.set(content.subarray(0, bytes - at), at)
  return buffer
}

function sourceFile(name: string): Uint8Array {
  let content: Uint8Array
  try {
    content = readFileSync(name)
  } catch (thrown) {
    throw new HostFailure(`${name}: ${errnoText(thrown)}`)
  }
  if (content.byteLength === 0) throw new HostFailure(`${name}: file is empty`)
  return content
}

async function writeAs(
  shell: Shell,
  options: WriteOptions,
  { offset, bytes, data }: { offset: number; bytes: number; data: Uint8Array | undefined },
): Promise<void> {
  if (data === undefined) await zeroRange(shell, offset, bytes, options.flags)
  else if (options.vmState) await backendSaveVmstate(shell.opened.backend.root, offset, data)
  else await writeRange(shell, offset, data, options.flags | (options.compressed ? BDRV_REQ_WRITE_COMPRESSED : 0))
}

export const writevCommand: IoCommand = {
  name: 'writev',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-Cfq] [-P pattern] off len [len..]',
  summary: 'writes a number of bytes at a specified offset',
  needs: BLK_PERM_WRITE,
  help: `
 Writes from off on out of buffers of the lengths given, in one request. Each byte is 0xcd unless something else is
 asked for.

 writev 512 1k 1k     writes the two kilobytes behind the first sector

 -P byte    write this byte
 -C         print figures in one line, separated by commas
 -f         have it on stable storage when the write is done
 -q         print no figures
`,
  async run(shell, words) {
    const { options, operands } = writeOptions(words, 'CfqP:')
    const { offset, data } = writeVector(shell, options, operands, (at, bytes) =>
      refuseOutside(shell, 'writev', at, bytes),
    )
    const began = shell.now()
    try {
      await writeRange(shell, offset, data, options.flags)
    } catch (thrown) {
      shell.aio.deliver()
      throw new CommandFailure(`writev failed: ${errnoText(thrown)}`)
    }
    const seconds = (shell.now() - began) / 1000
    shell.aio.deliver()
    report(shell, options, { offset, bytes: data.byteLength, seconds })
    return true
  },
}

/** The offset, and a buffer for each length; `check` may refuse the range before there are buffers. */
function writeVector(
  shell: Shell,
  options: WriteOptions,
  operands: readonly string[],
  check: (offset: number, bytes: number) => void = () => {},
): { offset: number; data: Bytes } {
  const [offsetText, ...lengths] = operands
  if (offsetText === undefined || lengths.length === 0) throw new UsageFailure()
  const offset = byteCount(shell, offsetText)
  const fill = options.pattern ?? WRITE_FILL
  const { parts, total } = vectorLengths(shell, lengths)
  check(offset, total)
  return { offset, data: concatBytes(parts.map((length) => shell.buffer(length, fill))) }
}

export const aioWriteCommand: IoCommand = {
  name: 'aio_write',
  minWords: 2,
  maxWords: Number.POSITIVE_INFINITY,
  usage: '[-Cfiquz] [-P pattern] off len [len..]',
  summary: 'asynchronously writes a number of bytes',
  needs: BLK_PERM_WRITE,
  help: `
 Begins to write as writev does, and goes on at once. What became of it is told later; aio_flush waits for it. The
 command counts as done once the write has begun, whatever comes of it.

 aio_write 512 1k 1k     writes the two kilobytes behind the first sector

 -P byte    write this byte
 -C         print figures in one line, separated by commas
 -f         have it on stable storage when the write is done
 -i         only count a request as invalid
 -q         print no figures
 -u         zeroes may free what they cover (with -z)
 -z         write zeroes without a buffer
`,
  run(shell, words) {
    const { options, operands } = writeOptions(words, 'CfiP:quz')
    const { opened, host, aio } = shell
    if (options.invalid) {
      host.out('injecting invalid write request\n')
      opened.backend.accounting.write.invalid++
      return true
    }
    if (operands.length < 2) throw new UsageFailure()
    if (options.zeroes && operands.length !== 2) {
      throw new CommandFailure('-z supports only a single length parameter')
    }
    if ((options.flags & BDRV_REQ_MAY_UNMAP) !== 0 && !options.zeroes) {
      throw new CommandFailure('-u requires -z to be specified')
    }
    const { offset, bytes, write } = options.zeroes
      ? aioZeroes(shell, options, operands)
      : aioData(shell, options, operands)
    const began = shell.now()
    aio.start(async () => {
      try {
        await write()
      } catch (thrown) {
        return () => host.out(`aio_write failed: ${errnoText(thrown)}\n`)
      }
      const seconds = (shell.now() - began) / 1000
      return () => report(shell, options, { offset, bytes, seconds })
    })
    return true
  },
}

/** A request that is about to begin. */
interface AioWrite {
  offset: number
  bytes: number
  write(): Promise<void>
}

function aioZeroes(shell: Shell, { flags }: WriteOptions, operands: readonly string[]): AioWrite {
  const [offsetText = '', countText = ''] = operands
  const offset = byteCount(shell, offsetText)
  const bytes = byteCount(shell, countText)
  return { offset, bytes, write: () => zeroRange(shell, offset, bytes, flags) }
}

function aioData(shell: Shell, options: WriteOptions, operands: readonly string[]): AioWrite {
  const { offset, data } = writeVector(shell, options, operands)
  return { offset, bytes: data.byteLength, write: () => writeRange(shell, offset, data, options.flags) }
}
