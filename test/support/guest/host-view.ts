// An image after its guest has gone, as this host's tools see it.

import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync, rmSync } from 'node:fs'
import { peer } from '../peers.js'
import { runOurs } from '../tool-pair.js'

/** An image file. */
export interface HostImage {
  path: string
  format: 'raw' | 'qcow2'
  /** Its back-end was killed: clusters may be allocated that nothing refers to. */
  mayLeak?: boolean
}

/** What a check exits with where it finds leaked clusters and nothing worse. */
const ONLY_LEAKS = 3

const MIB = 2 ** 20

/**
 * MD5 of the disk in `image`, in the words of md5sum. Throws unless both qemu-img and blockgraph-img find the image sound
 * and see the same disk in it.
 */
export async function hostChecksum({ path, format, mayLeak = false }: HostImage, folder: string): Promise<string> {
  const image = peer('qemu-img')
  if (format === 'qcow2') {
    const sound = mayLeak ? [0, ONLY_LEAKS] : [0]
    const theirs = image.run(['check', '-f', format, path])
    if (!sound.includes(theirs.status ?? -1))
      throw new Error(`qemu-img check ${path}\n${theirs.stdout}${theirs.stderr}`)
    await ours(['check', '-f', format, path], folder, sound)
  }
  const flat = `${path}.flat`
  image.check(['convert', '-f', format, '-O', 'raw', path, flat])
  try {
    await ours(['compare', '-f', format, '-F', 'raw', path, flat], folder)
    return `${md5(flat)}  -`
  } finally {
    rmSync(flat)
  }
}

async function ours(args: readonly string[], folder: string, good: readonly number[] = [0]): Promise<void> {
  const { status, stdout, stderr } = await runOurs(args, folder)
  if (!good.includes(status ?? -1))
    throw new Error(`blockgraph-img ${args.join(' ')}: exit code ${status}\n${stdout}${stderr}`)
}

function md5(path: string): string {
  const hash = createHash('md5')
  const chunk = new Uint8Array(MIB)
  const fd = openSync(path, 'r')
  for (let length = readSync(fd, chunk); length > 0; length = readSync(fd, chunk))
    hash.update(chunk.subarray(0, length))
  closeSync(fd)
  return hash.digest('hex')
}
