// The archive a kernel unpacks as its first root: cpio in the "newc" form. Each entry is a header of 6 + 13 * 8 ASCII
// characters, the name with its NUL, the data; name and data are padded to 4 bytes (Linux, driver-api/early-userspace).

/** One file, folder, symbolic link or device node. */
export interface CpioEntry {
  /** Path without a leading slash. Folders come before what is in them. */
  name: string
  /** Type and permission bits, as in `st_mode`. */
  mode: number
  /** Content of a file, target of a link. */
  data?: Uint8Array
  /** Of a device node. */
  device?: { major: number; minor: number }
}

export const S_IFDIR = 0o040000
export const S_IFCHR = 0o020000
export const S_IFREG = 0o100000
export const S_IFLNK = 0o120000

const MAGIC = '070701'
const HEADER_LENGTH = 110
const TRAILER: CpioEntry = { name: 'TRAILER!!!', mode: 0 }

/** The pieces of the archive, in order: what is large is not copied. */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  ;[...entries, TRAILER].forEach((entry, index) => {
    const data = entry.data ?? new Uint8Array(0)
    pieces.push(header(entry, index + 1, data.length), data, new Uint8Array(padding(data.length)))
  })
  return pieces
}

function header(entry: CpioEntry, inode: number, length: number): Uint8Array {
  const name = new TextEncoder().encode(`${entry.name}\0`)
  const { major, minor } = entry.device ?? { major: 0, minor: 0 }
  const links = (entry.mode & 0o170000) === S_IFDIR ? 2 : 1
  // ino, mode, uid, gid, nlink, mtime, filesize, maj, min, rmaj, rmin, namesize, chksum
  const fields = [inode, entry.mode, 0, 0, links, 0, length, 0, 0, major, minor, name.length, 0]
  const text = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('')
  const bytes = new Uint8Array(HEADER_LENGTH + name.length + padding(HEADER_LENGTH + name.length))
  bytes.set(new TextEncoder().encode(text))
  bytes.set(name, HEADER_LENGTH)
  return bytes
}

function padding(length: number): number {
  return -length & 3
}
