// The image of the demo: an archive of this project's own files at its start, a pattern behind it.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What was written. */
export interface ImageContent {
  files: number
  archiveBytes: number
  /** Everything the image holds. */
  bytes: Uint8Array
}

/** Writes the image, and an empty one of the same size for what replaces it. */
export async function buildImage(path: string, replacement: string, size: number): Promise<ImageContent> {
  const bytes = new Uint8Array(size)
  const { files, archiveBytes } = await archive(bytes.subarray(0, size / 2), [
    'README.md',
    'LICENSE',
    'docs',
    'src',
    'examples',
  ])
  // A quarter of pattern, a quarter of hole.
  for (let at = size / 2; at < (size * 3) / 4; at += 8) {
    bytes[at] = at >>> 9
    bytes[at + 3] = (at >>> 17) ^ 0x5a
  }
  const image = await open(path, 'w')
  await image.write(bytes, 0, (size * 3) / 4, 0)
  await image.truncate(size)
  await image.close()
  const empty = await open(replacement, 'w')
  await empty.truncate(size)
  await empty.close()
  return { files, archiveBytes, bytes }
}

/** The sha256 of a file, in hex. */
export async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  return hash.digest('hex')
}

/** Packs files in the ustar layout: a header block, the bytes, padding to 512. */
async function archive(into: Uint8Array, roots: readonly string[]): Promise<{ files: number; archiveBytes: number }> {
  let at = 0
  let files = 0
  for (const path of await listFiles(roots)) {
    const bytes = await readFile(path)
    const end = at + 512 + Math.ceil(bytes.byteLength / 512) * 512
    if (end > into.byteLength || path.length > 99) continue
    into.set(tarHeader(path, bytes.byteLength), at)
    into.set(bytes, at + 512)
    at = end
    files += 1
  }
  return { files, archiveBytes: at }
}

async function listFiles(roots: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const root of roots) {
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => undefined)
    if (entries === undefined) found.push(root)
    else for (const entry of entries) if (entry.isFile()) found.push(join(entry.parentPath, entry.name))
  }
  return found.sort()
}

function tarHeader(path: string, bytes: number): Uint8Array {
  const header = new Uint8Array(512)
  const encoder = new TextEncoder()
  const put = (at: number, text: string) => header.set(encoder.encode(text), at)
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  put(0, path)
  put(100, octal(0o644, 8))
  put(108, octal(0, 8))
  put(116, octal(0, 8))
  put(124, octal(bytes, 12))
  put(136, octal(0, 12))
  put(148, '        ')
  put(156, '0')
  put(257, 'ustar\u000000')
  const sum = header.reduce((total, byte) => total + byte, 0)
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `)
  return header
}
