// Opens the file driver without a graph: a context that records what it was told, and the node's I/O half called directly.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ErrnoName } from '../../../../src/common/errno.js'
import { BlockError } from '../../../../src/common/error.js'
import { BDRV_O_RDWR } from '../../../../src/common/open-flags.js'
import { createFileDriver } from '../../../../src/drivers/file/driver.js'
import type { OpenFile } from '../../../../src/drivers/file/open-file.js'
import { type FileOptions, fileOptions } from '../../../../src/drivers/file/options.js'
import { type FilePlatform, nodeFilePlatform, plainFilePlatform } from '../../../../src/drivers/file/platform.js'
import type { OpenContext, OpenedNode } from '../../../../src/global-state/driver.js'
import type { BlockDriverState } from '../../../../src/io/block-node.js'
import { createEnvironment } from '../../../../src/io/environment.js'
import type { Completion, NodeIo } from '../../../../src/io/node-io.js'
import type { HostFile } from '../../../../src/platform/host-file.js'
import { loadNativeFileCalls } from '../../../../src/platform/native/file-calls.js'

export const native = await loadNativeFileCalls()

/** The platforms every behaviour is tested on; native calls only where this host has them. */
export const platforms: [string, FilePlatform][] = [
  ['without native calls', plainFilePlatform],
  ...(native === undefined ? [] : [['with native calls', nodeFilePlatform] as [string, FilePlatform]]),
]

export interface Opened extends OpenedNode<OpenFile> {
  notices: string[]
  driver: ReturnType<typeof createFileDriver>
  close(): Promise<void>
}

export interface OpenWishes extends Partial<FileOptions> {
  platform?: FilePlatform
  readOnly?: boolean
  autoReadOnly?: boolean
  openFlags?: number
}

export async function open(path: string, wishes: OpenWishes = {}): Promise<Opened> {
  const { platform = plainFilePlatform, readOnly = false, autoReadOnly = false, openFlags = 0, ...options } = wishes
  const notices: string[] = []
  let isReadOnly = readOnly
  const node = { nodeName: 'disk' } as BlockDriverState
  const context: OpenContext = {
    nodeName: 'disk',
    node,
    environment: createEnvironment(),
    get openFlags() {
      return openFlags | (isReadOnly ? 0 : BDRV_O_RDWR)
    },
    get readOnly() {
      return isReadOnly
    },
    applyAutoReadOnly(code: ErrnoName, message: string) {
      if (!autoReadOnly) throw new BlockError(code, message, { node: 'disk' })
      isReadOnly = true
    },
    hasChild: () => false,
    child: () => Promise.reject(new Error('no children here')),
    probed: false,
    creating: false,
    drivers: [],
    secret: () => new Uint8Array(0),
    notice: (message) => notices.push(message),
    warn: (message) => notices.push(message),
    signal: undefined,
  }
  const driver = createFileDriver(platform)
  const opened = await driver.open(context, { ...defaults(), filename: path, ...options })
  Object.assign(node, { io: opened.io })
  return { ...opened, notices, driver, close: async () => driver.close?.(opened.state) }
}

function defaults(): Omit<FileOptions, 'filename'> {
  return {
    locking: fileOptions.locking.default ?? 'auto',
    aio: fileOptions.aio.default ?? 'auto',
    native: true,
    'host-device': false,
  }
}

/** The platform with some host calls replaced. */
export function withHost(platform: FilePlatform, host: Partial<HostFile>): FilePlatform {
  return { ...platform, host: { ...platform.host, ...host } }
}

/** A source of the copy interface for tests. */
export function nodeOver(io: NodeIo): BlockDriverState {
  return { nodeName: 'other', io } as BlockDriverState
}

/** What a call failed with; fails itself where it did not. */
export async function failure(call: () => unknown): Promise<BlockError> {
  try {
    await call()
  } catch (thrown) {
    if (thrown instanceof BlockError) return thrown
    throw thrown
  }
  throw new Error('the call did not fail')
}

export async function settle(completion: Completion | undefined): Promise<void> {
  await completion
}

/** A folder of its own, and its removal. */
export function scratchFolder(): { path(name: string): string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'file-driver-'))
  return { path: (name) => join(folder, name), remove: () => rmSync(folder, { recursive: true, force: true }) }
}

export function pattern(bytes: number, seed = 1): Uint8Array {
  const data = new Uint8Array(bytes)
  let value = seed
  for (let i = 0; i < bytes; i++) {
    value = (value * 1103515245 + 12345) & 0x7fffffff
    data[i] = (value >>> 16) | 1
  }
  return data
}
