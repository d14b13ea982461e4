// What a guest's kernel makes of a SCSI disk: what its driver has asked the logical unit.

import type { Guest } from './guest.js'

/** As sysfs shows them, in bytes. */
export interface ScsiAttributes {
  /** Host, channel, target and LUN: "0:0:0:1". */
  address: string
  vendor: string
  product: string
  bytes: number
  readOnly: boolean
  logicalBlockSize: number
  /** Of the unit serial number page; empty where there is none. */
  serial: string
  /** What the kernel takes for the name of the disk, of the device identification page. */
  name: string
  cache: string
  /** Writes can be made stable one by one. */
  fua: boolean
  discardMaxBytes: number
  writeZeroesMaxBytes: number
  /** How discards are asked for. */
  provisioning: string
  /** Hardware queues in use. */
  queues: number
}

/**
 * Waits until the disk at an address is there; its name ("sda"), which depends on the order in which the kernel is done with
 * each.
 */
export async function findScsiDisk(guest: Guest, address: string): Promise<string> {
  const folder = `/sys/bus/scsi/devices/${address}/block`
  const disk = `$(ls ${folder} 2> /dev/null)`
  return guest.check(
    `for i in $(seq 200); do test -n "${disk}" && test -b /dev/${disk} && break; sleep 0.1; done; ls ${folder}`,
  )
}

/** Reads the attributes of `disk` ("sda"). */
export async function readScsiAttributes(guest: Guest, disk: string): Promise<ScsiAttributes> {
  const block = `/sys/block/${disk}`
  const address = await guest.check(`basename $(readlink ${block}/device)`)
  const unit = `/sys/class/scsi_disk/${address}`
  const files = [
    ...['device/vendor', 'device/model', 'size', 'ro', 'queue/logical_block_size', 'queue/fua'].map(
      (name) => `${block}/${name}`,
    ),
    ...['queue/discard_max_bytes', 'queue/write_zeroes_max_bytes', 'device/wwid'].map((name) => `${block}/${name}`),
    ...['cache_type', 'provisioning_mode'].map((name) => `${unit}/${name}`),
  ]
  const show = files.map((name) => `cat ${name} || echo`).join('; ')
  const serial = `dd if=${block}/device/vpd_pg80 bs=4 skip=1 2>/dev/null || true`
  const lines = (await guest.check(`${show}; ls ${block}/mq | wc -l; ${serial}`)).split('\n')
  const [vendor = '', product = '', size, ro, blockSize, fua, discard, zeroes, name = '', ...more] = lines
  const [cache = '', provisioning = '', queues, serialText = ''] = more
  return {
    address,
    vendor: vendor.trim(),
    product: product.trim(),
    bytes: Number(size) * 512,
    readOnly: ro === '1',
    logicalBlockSize: Number(blockSize),
    serial: serialText,
    name,
    cache,
    fua: fua === '1',
    discardMaxBytes: Number(discard),
    writeZeroesMaxBytes: Number(zeroes),
    provisioning,
    queues: Number(queues),
  }
}
