// What guests do to a disk, each with its own proof that it was done. Places and lengths are in MiB.

import type { Guest } from './guest.js'

/** By its path: the shell takes its own applet, which cannot zero, before any program of that name. */
const BLKDISCARD = '/programs/blkdiscard'

/** A part of a disk. */
export interface Area {
  /** "vda" */
  disk: string
  at: number
  length: number
}

/** How random writes are made. */
export interface RandomWrites {
  /** In flight of each job. */
  depth: number
  /** Jobs side by side, each in its share of the area. */
  jobs: number
  seed: number
  /** Writes and reads back again and again for so long; once unless said. */
  seconds?: number
  /** Most requests in a second of each job; as many as there can be unless said. */
  rate?: number
}

/** A file system at the beginning of the disk: made, filled by copying `source`, read again after a new mount, checked. */
export async function fileSystemWork(guest: Guest, { disk, length }: Area, source: string): Promise<void> {
  const sums = 'find . -type f -exec md5sum {} + | sort'
  await guest.check(`mkfs.ext4 -q -F -E nodiscard /dev/${disk} ${length}M`)
  await guest.check(`mount -t ext4 /dev/${disk} /mnt && cp -a ${source} /mnt/copy && sync`)
  await guest.check(`(cd ${source} && ${sums}) > /tmp/wanted && test -s /tmp/wanted`)
  await guest.check(`umount /mnt && mount -t ext4 /dev/${disk} /mnt`)
  await guest.check(`(cd /mnt/copy && ${sums}) > /tmp/found; umount /mnt && cmp /tmp/wanted /tmp/found`)
  await guest.check(`e2fsck -fn /dev/${disk}`)
}

/** A command that writes the area in random order, flushes on the way, reads all of it back and compares. */
export function randomWritesCommand({ disk, at, length }: Area, work: RandomWrites): string {
  const share = length / work.jobs
  return [
    'fio --name=verify --ioengine=libaio --direct=1 --thread --group_reporting --minimal --rw=randwrite',
    `--filename=/dev/${disk} --offset=${at}m --offset_increment=${share}m --size=${share}m --numjobs=${work.jobs}`,
    `--bsrange=4k-32k --iodepth=${work.depth} --fsync=64 --randseed=${work.seed} --allrandrepeat=1`,
    '--verify=crc32c --verify_fatal=1 --verify_async=0 --do_verify=1',
    work.seconds === undefined ? '' : `--time_based --runtime=${work.seconds}`,
    work.rate === undefined ? '' : `--rate_iops=${work.rate}`,
  ].join(' ')
}

/** Discards the middle of the area, zeroes another part of it, and checks that just that reads as zeroes. */
export async function discardWork(guest: Guest, { disk, at, length }: Area): Promise<void> {
  const quarter = length / 4
  const device = `/dev/${disk}`
  await guest.check(
    `tr '\\0' 'x' < /dev/zero | dd of=${device} bs=1M seek=${at} count=${length} iflag=fullblock oflag=direct`,
  )
  const before = await checksum(guest, { disk, at, length: quarter })
  await guest.check(`${BLKDISCARD} -o ${(at + quarter) * 2 ** 20} -l ${quarter * 2 ** 20} ${device}`)
  await guest.check(`${BLKDISCARD} -z -o ${(at + 2 * quarter) * 2 ** 20} -l ${quarter * 2 ** 20} ${device}`)
  const zeroes = await guest.check(`head -c ${quarter * 2 ** 20} /dev/zero | md5sum`)
  for (const [index, wanted] of [before, zeroes, zeroes, before].entries()) {
    const found = await checksum(guest, { disk, at: at + index * quarter, length: quarter })
    if (found !== wanted) throw new Error(`${disk}: quarter ${index} of the discarded area is ${found}, not ${wanted}`)
  }
}

/** MD5 of what stands on the disk, past the guest's cache. */
export async function checksum(guest: Guest, { disk, at, length }: Area): Promise<string> {
  return guest.check(`dd if=/dev/${disk} bs=1M skip=${at} count=${length} iflag=direct 2>/dev/null | md5sum`)
}

/** How many flush requests the disk has completed since the guest's boot (Linux, Documentation/block/stat). */
export async function flushes(guest: Guest, disk: string): Promise<number> {
  const fields = (await guest.check(`cat /sys/block/${disk}/stat`)).trim().split(/\s+/)
  return Number(fields[15])
}
