/// <reference lib="esnext.disposable" preserve="true" />
// blockgraph/node: the universal surface, and what needs Node: files, streams, diagnostics channels, native calls.

export { createFileDriver } from './drivers/file/driver.js'
export { fileDriver } from './drivers/file/index.js'
export * from './index.js'
export { alignedBuffer } from './platform/aligned-buffer.js'
export { createContextTracker } from './platform/async-context.js'
export { publishEvents } from './platform/diagnostics.js'
export { realFolderPolicy } from './platform/name-policy.js'
export { DiskFileHandle, NodeDisk } from './platform/node-disk.js'
export {
  createGraph,
  type NodeDiskOptions,
  type NodeGraphOptions,
  nodeDrivers,
  openDisk,
} from './platform/open-disk.js'
export {
  serveVhostUserBlk,
  type VhostUserBlkOptions,
  VhostUserBlkServer,
} from './platform/serve-vhost-user.js'
export { nodeServices } from './platform/services.js'
