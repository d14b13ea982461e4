// Who holds a lock on a file, as far as the host lets us see: open-file-description locks have no process in /proc/locks,
// so the descriptors of each readable process are looked at (proc(5), /proc/pid/fdinfo). Used for messages only.

/** Loaded here, as conflicts are rare. */
const files = () => process.getBuiltinModule('node:fs/promises')

/** A process that holds locks on the file asked about. */
export interface LockHolder {
  pid: number
  command: string
  /** Byte offsets it has locked, among those asked for. */
  bytes: number[]
}

/** Processes looked at before giving up, so that an error message cannot take long on a busy host. */
const MAX_PROCESSES = 4096

/**
 * The processes that hold a lock on any of `bytes` of the file with this device and inode. `ownFd` is a descriptor of
 * this process that does not count. Empty where nothing can be seen. Never rejects.
 */
export async function findLockHolders(
  file: { device: bigint; inode: bigint },
  bytes: readonly number[],
  ownFd: number,
): Promise<LockHolder[]> {
  const holders: LockHolder[] = []
  const names = await files()
    .readdir('/proc')
    .catch(() => [])
  const pids = names.filter((name) => /^\d+$/.test(name)).slice(0, MAX_PROCESSES)
  for (const pid of pids) {
    const held = await heldBy(pid, file, bytes, Number(pid) === process.pid ? `${ownFd}` : '').catch(() => [])
    if (held.length > 0) holders.push({ pid: Number(pid), command: await commandOf(pid), bytes: held })
  }
  return holders
}

async function heldBy(
  pid: string,
  file: { device: bigint; inode: bigint },
  bytes: readonly number[],
  exceptFd: string,
): Promise<number[]> {
  const held = new Set<number>()
  const pattern = new RegExp(`^lock:.*(?:OFDLCK|POSIX).*:${file.inode} (\\d+) (\\d+|EOF)$`, 'gm')
  for (const fd of await files().readdir(`/proc/${pid}/fdinfo`)) {
    if (fd === exceptFd) continue
    const text = await files()
      .readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8')
      .catch(() => '')
    const ranges = [...text.matchAll(pattern)]
    if (ranges.length === 0 || !(await isSameFile(`/proc/${pid}/fd/${fd}`, file))) continue
    for (const [, first, last] of ranges) {
      const end = last === 'EOF' ? Number.MAX_SAFE_INTEGER : Number(last)
      for (const byte of bytes) if (byte >= Number(first) && byte <= end) held.add(byte)
    }
  }
  return [...held]
}

async function isSameFile(path: string, file: { device: bigint; inode: bigint }): Promise<boolean> {
  const found = await files().stat(path, { bigint: true })
  return found.ino === file.inode && found.dev === file.device
}

async function commandOf(pid: string): Promise<string> {
  const text = await files()
    .readFile(`/proc/${pid}/comm`, 'utf8')
    .catch(() => 'unknown')
  return text.trimEnd()
}
