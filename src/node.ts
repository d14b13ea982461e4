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
export { nodeServices } from './platform/services.js'
export {
  serveVhostUserBlk,
  type VhostUserBlkOptions,
  type VhostUserBlkServer,
} from './platform/vhost-user/serve-blk.js'
export {
  serveVhostUser,
  type VhostUserDevice,
  VhostUserDeviceServer,
  type VhostUserOptions,
} from './platform/vhost-user/serve-device.js'
export {
  serveVhostUserRng,
  type VhostUserRngOptions,
  type VhostUserRngServer,
} from './platform/vhost-user/serve-rng.js'
export {
  serveVhostUserScsi,
  type VhostUserScsiDisk,
  type VhostUserScsiOptions,
  type VhostUserScsiServer,
} from './platform/vhost-user/serve-scsi.js'
export type { ServedDisk } from './platform/vhost-user/served-disk.js'
