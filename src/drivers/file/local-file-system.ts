// Which file systems write into the cache of this host: on others a write can wait for another machine, or another process,
// for ever.

import type { HostFile } from '../../platform/host-file.js'

/** Magic numbers of statfs(2). */
const LOCAL_FILE_SYSTEMS = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0xf2f52010, // F2FS
  0x2fc12fc1, // ZFS
  0xca451a4e, // bcachefs
  0x01021994, // tmpfs
  0x794c7630, // overlayfs
])

/** Whether the file that a descriptor refers to lies on one of them. False where the host does not tell. */
export async function isOnLocalFileSystem(host: HostFile, fd: number): Promise<boolean> {
  try {
    return LOCAL_FILE_SYSTEMS.has(await host.fileSystemType(`/proc/self/fd/${fd}`))
  } catch {
    return false
  }
}
