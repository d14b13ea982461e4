// The calls of the host's file system that the file driver makes, as one interface: tests put faults behind it. The data
// path uses callbacks, since a promise per host call would cost more than a cached read.

import fs from 'node:fs'

/** Ends one transfer; `transferred` is the count of bytes and may be short. */
export type TransferCallback = (error: Error | null, transferred: number) => void

/** What a descriptor refers to. */
export type HostFileKind = 'file' | 'directory' | 'fifo' | 'socket' | 'block-device' | 'character-device' | 'unknown'

/** What the host says of an open file. */
export interface HostStat {
  kind: HostFileKind
  /** Bytes; 0 for a device. Not capped: may exceed a safe integer by rounding. */
  size: number
  /** Bytes allocated on the host. */
  allocated: number
  device: bigint
  inode: bigint
  /** Of a device file: which device it stands for. */
  targetDevice: bigint
}

/** Files of the host. A descriptor is a plain number here; only `Descriptor` of the file driver holds one. */
export interface HostFile {
  open(path: string, flags: number, mode: number): Promise<number>
  close(fd: number): Promise<void>
  stat(fd: number): Promise<HostStat>
  truncate(fd: number, length: number): Promise<void>
  /** Makes data, and what is needed to find it again, durable. */
  sync(fd: number): Promise<void>
  unlink(path: string): Promise<void>
  /** What kind of file system holds the file, as a magic number of statfs(2). */
  fileSystemType(path: string): Promise<number>
  /** Reads a small file of the host whole, such as those under /sys. */
  readText(path: string): Promise<string>
  read(fd: number, buffer: Uint8Array, start: number, bytes: number, offset: number, done: TransferCallback): void
  readv(fd: number, buffers: readonly Uint8Array[], offset: number, done: TransferCallback): void
  write(fd: number, buffer: Uint8Array, start: number, bytes: number, offset: number, done: TransferCallback): void
  writev(fd: number, buffers: readonly Uint8Array[], offset: number, done: TransferCallback): void
}

/** The file system of the process. */
export const nodeHostFile: HostFile = {
  open: (path, flags, mode) => settled((done) => fs.open(path, flags, mode, done)),
  close: (fd) => settled((done) => fs.close(fd, (error) => done(error ?? null, undefined))),
  stat: async (fd) => toHostStat(await settled<fs.BigIntStats>((done) => fs.fstat(fd, { bigint: true }, done))),
  truncate: (fd, length) => settled((done) => fs.ftruncate(fd, length, (error) => done(error, undefined))),
  sync: (fd) => settled((done) => fs.fdatasync(fd, (error) => done(error, undefined))),
  unlink: (path) => settled((done) => fs.unlink(path, (error) => done(error, undefined))),
  fileSystemType: async (path) => (await settled<fs.StatsFs>((done) => fs.statfs(path, done))).type,
  readText: (path) => settled((done) => fs.readFile(path, 'utf8', done)),
  read: (fd, buffer, start, bytes, offset, done) => fs.read(fd, buffer, start, bytes, offset, done),
  readv: (fd, buffers, offset, done) => fs.readv(fd, buffers, offset, done),
  write: (fd, buffer, start, bytes, offset, done) => fs.write(fd, buffer, start, bytes, offset, done),
  writev: (fd, buffers, offset, done) => fs.writev(fd, buffers, offset, done),
}

function settled<T>(call: (done: (error: Error | null, value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error === null ? resolve(value) : reject(error)))
  })
}

function toHostStat(stat: fs.BigIntStats): HostStat {
  return {
    kind: kindOf(stat),
    size: Number(stat.size),
    // st_blocks counts units of 512 bytes whatever the block size of the file system.
    allocated: Number(stat.blocks) * 512,
    device: stat.dev,
    inode: stat.ino,
    targetDevice: stat.rdev,
  }
}

function kindOf(stat: fs.BigIntStats): HostFileKind {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'directory'
  if (stat.isBlockDevice()) return 'block-device'
  if (stat.isCharacterDevice()) return 'character-device'
  if (stat.isFIFO()) return 'fifo'
  return stat.isSocket() ? 'socket' : 'unknown'
}

/** The parts of a Linux device number, as /proc and /sys write them. */
export function deviceParts(device: bigint): { major: number; minor: number } {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn)),
    minor: Number((device & 0xffn) | ((device >> 12n) & ~0xffn & 0xffffffffn)),
  }
}
