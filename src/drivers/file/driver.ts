// The definition of the file driver over a platform: the process's own, or one that a test made.

import { type DriverDefinition, defineDriver } from '../../global-state/driver.js'
import { createImageFile, deleteImageFile } from './create.js'
import { checkImageLocks, restoreImageLocks, setImageLocks } from './image-locks.js'
import { fileLimits, openFileNode } from './open.js'
import type { OpenFile } from './open-file.js'
import { type FileCreateOptions, fileCreateOptions, fileOptions } from './options.js'
import { type FilePlatform, nodeFilePlatform } from './platform.js'
import { prepareFileReopen } from './reopen.js'

/** The file driver on `platform`. */
export function createFileDriver(
  platform: FilePlatform = nodeFilePlatform,
): DriverDefinition<typeof fileOptions, OpenFile> {
  return defineDriver<typeof fileOptions, OpenFile>({
    name: 'file',
    kind: 'protocol',
    protocolName: 'file',
    needsFilename: true,
    options: fileOptions,
    strongOptions: ['filename'],
    createOptions: fileCreateOptions,
    parseFilename: (filename) => ({ filename: stripProtocol(filename) }),
    filename: (options) => options.filename,
    open: (context, options) => openFileNode(platform, context, options),
    close: (file) => file.descriptor.close(),
    permissions: {
      check: (file, perm, shared) =>
        file.locks === undefined ? undefined : checkImageLocks(file, file.locks, perm, shared),
      set(file, perm, shared) {
        if (file.locks !== undefined) setImageLocks(file, file.locks, perm, shared)
      },
      abort(file) {
        if (file.locks !== undefined) restoreImageLocks(file, file.locks)
      },
    },
    refreshLimits(file, limits) {
      Object.assign(limits, fileLimits(file))
    },
    reopen: (file, context) => prepareFileReopen(file, context),
    hasZeroInit: (file) => file.device === undefined,
    identity: ({ identity }) => `${identity.device}:${identity.inode}`,
    create: (context, options) =>
      createImageFile(platform, stripProtocol(context.filename), options as FileCreateOptions),
    deleteFile: (filename) => deleteImageFile(platform, stripProtocol(filename)),
  })
}

function stripProtocol(filename: string): string {
  return filename.startsWith('file:') ? filename.slice('file:'.length) : filename
}
