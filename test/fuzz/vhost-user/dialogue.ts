// Dialogues of a front-end: one as it should be, with QEMU's or virtio_uml's messages in their order, and what chance makes
// of it. Descriptors are named by kind, so that a dialogue is data and can be printed.

import { encodeConfig } from '../../../src/protocols/vhost-user/config.js'
import {
  encodeMemoryRegion,
  encodeMemoryTable,
  type MemoryRegionDescription,
} from '../../../src/protocols/vhost-user/memory-regions.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import {
  encodeU64,
  encodeVringAddress,
  encodeVringDescriptor,
  encodeVringState,
} from '../../../src/protocols/vhost-user/payloads.js'
import { encodeInflight, encodeLog } from '../../../src/protocols/vhost-user/shared-area.js'
import type { RandomBelow } from '../../../src/testing/crash/seeded-random.js'

/** What can come with a message. */
export const FD_KINDS = ['memory', 'event', 'file', 'socket', 'record', 'folder', 'small'] as const
export type FdKind = (typeof FD_KINDS)[number]

/** A message before it is sent. */
export interface PlannedMessage {
  request: number
  flags: number
  payload: Uint8Array
  fds: FdKind[]
  /** The header's size where it is not that of the payload. */
  size?: number
}

/** Where the rings lie in guest memory, and how much of it there is. */
export const MEMORY_BYTES = 0x10000
export const USER_ADDRESS = 0x7000_0000n
const RING_STEP = 0x4000n
const FEATURES = (1n << 32n) | (1n << 29n) | (1n << 30n)
const PACKED = 1n << 34n
const LOG_ALL = 1n << 26n
const QUEUES = 2

/** A dialogue that is as it should be. */
export function soundDialogue(random: RandomBelow): PlannedMessage[] {
  const said: PlannedMessage[] = []
  const say = (request: number, payload: Uint8Array = new Uint8Array(0), fds: FdKind[] = []): void => {
    said.push({ request, flags: random(3) === 0 ? 9 : 1, payload, fds })
  }
  const packed = random(2) === 0
  const uml = random(3) === 0
  say(m.VHOST_USER_GET_FEATURES)
  say(m.VHOST_USER_SET_PROTOCOL_FEATURES, encodeU64(uml ? 0x0228n : 0x1b22bn))
  say(m.VHOST_USER_SET_OWNER)
  if (random(2) === 0) say(m.VHOST_USER_SET_BACKEND_REQ_FD, undefined, ['socket'])
  say(m.VHOST_USER_GET_CONFIG, encodeConfig({ offset: 0, size: 57, flags: 0, data: new Uint8Array(57) }))
  say(m.VHOST_USER_SET_FEATURES, encodeU64(packed ? FEATURES | PACKED : FEATURES))
  if (!uml && random(2) === 0) sayInflight(say, random)
  if (uml) say(m.VHOST_USER_SET_MEM_TABLE, encodeMemoryTable([region()]), ['memory'])
  else say(m.VHOST_USER_ADD_MEM_REG, encodeMemoryRegion(region()), ['memory'])
  for (let index = 0; index < QUEUES; index++) sayRing(say, index, packed)
  for (let index = 0; index < QUEUES; index++) say(m.VHOST_USER_SET_VRING_ENABLE, encodeVringState({ index, num: 1 }))
  say(m.VHOST_USER_SET_STATUS, encodeU64(15))
  if (!uml && random(3) === 0) sayLogging(say, packed, random)
  for (let more = random(4); more > 0; more--) sayAnything(say, packed, random)
  return said
}

type Say = (request: number, payload?: Uint8Array, fds?: FdKind[]) => void

function sayInflight(say: Say, random: RandomBelow): void {
  say(m.VHOST_USER_GET_INFLIGHT_FD, encodeInflight({ mmapSize: 0n, mmapOffset: 0n, queues: QUEUES, queueSize: 64 }))
  if (random(2) === 0) return
  const kept = { mmapSize: 8192n, mmapOffset: 0n, queues: QUEUES, queueSize: 64 }
  say(m.VHOST_USER_SET_INFLIGHT_FD, encodeInflight(kept), ['record'])
}

function sayRing(say: Say, index: number, packed: boolean): void {
  const descriptor = encodeVringDescriptor({ index, hasDescriptor: true })
  say(m.VHOST_USER_SET_VRING_CALL, descriptor, ['event'])
  say(m.VHOST_USER_SET_VRING_NUM, encodeVringState({ index, num: 64 }))
  say(m.VHOST_USER_SET_VRING_BASE, encodeVringState({ index, num: packed ? 0x8000_8000 : 0 }))
  sayAddress(say, index, 0)
  say(m.VHOST_USER_SET_VRING_KICK, descriptor, ['event'])
}

function sayAddress(say: Say, index: number, flags: number): void {
  const at = USER_ADDRESS + BigInt(index) * RING_STEP
  const log = flags === 0 ? 0n : at + 0x2000n - USER_ADDRESS
  say(
    m.VHOST_USER_SET_VRING_ADDR,
    encodeVringAddress({ index, flags, descriptor: at, available: at + 0x1000n, used: at + 0x2000n, log }),
  )
}

/** What QEMU says when a migration begins, and sometimes what it says when it ends. */
function sayLogging(say: Say, packed: boolean, random: RandomBelow): void {
  const features = packed ? FEATURES | PACKED : FEATURES
  sayLog(say, random)
  say(m.VHOST_USER_SET_FEATURES, encodeU64(features | LOG_ALL))
  for (let index = 0; index < QUEUES; index++) sayAddress(say, index, 1)
  if (random(2) === 0) return
  say(m.VHOST_USER_SET_FEATURES, encodeU64(features))
  for (let index = 0; index < QUEUES; index++) sayAddress(say, index, 0)
}

function sayLog(say: Say, random: RandomBelow): void {
  const size = BigInt(2 + random(4000))
  const offset = BigInt(random(97))
  say(m.VHOST_USER_SET_LOG_BASE, encodeLog({ size, offset }), [random(4) === 0 ? 'file' : 'small'])
  if (random(3) === 0) say(m.VHOST_USER_SET_LOG_FD, undefined, ['event'])
}

/** What a front-end may say while rings run. */
function sayAnything(say: Say, packed: boolean, random: RandomBelow): void {
  const index = random(QUEUES)
  const choices: (() => void)[] = [
    () => say(m.VHOST_USER_GET_VRING_BASE, encodeVringState({ index, num: 0 })),
    () => say(m.VHOST_USER_SET_VRING_ENABLE, encodeVringState({ index, num: random(2) })),
    () => say(m.VHOST_USER_SET_STATUS, encodeU64(0)),
    () => say(m.VHOST_USER_RESET_DEVICE),
    () => say(m.VHOST_USER_RESET_OWNER),
    () => say(m.VHOST_USER_SET_MEM_TABLE, encodeMemoryTable([region()]), ['memory']),
    () => say(m.VHOST_USER_REM_MEM_REG, encodeMemoryRegion(region())),
    () => say(m.VHOST_USER_SET_FEATURES, encodeU64(FEATURES)),
    () => say(m.VHOST_USER_SET_VRING_KICK, encodeVringDescriptor({ index, hasDescriptor: random(2) === 0 }), ['event']),
    () => say(m.VHOST_USER_SET_CONFIG, encodeConfig({ offset: 32, size: 1, flags: 0, data: new Uint8Array(1) })),
    () => say(m.VHOST_USER_GET_STATUS),
    () => sayRing(say, index, random(2) === 0),
    () => sayInflight(say, random),
    () => sayLog(say, random),
    () => sayLogging(say, packed, random),
    () => sayAddress(say, index, random(2)),
  ]
  choices[random(choices.length)]?.()
}

function region(): MemoryRegionDescription {
  return { guestAddress: 0n, size: BigInt(MEMORY_BYTES), userAddress: USER_ADDRESS, mmapOffset: 0n, xen: undefined }
}

/** Values at which arithmetic breaks. */
const EDGES = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0x100n,
  0xffffn,
  0x10000n,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 32n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
]

/** Changes up to `most` things; says what it did. */
export function mutateDialogue(said: PlannedMessage[], random: RandomBelow, most = 4): string[] {
  const done: string[] = []
  for (let left = 1 + random(most); left > 0 && said.length > 0; left--) done.push(mutateOnce(said, random))
  return done
}

function mutateOnce(said: PlannedMessage[], random: RandomBelow): string {
  const at = random(said.length)
  const message = said[at] as PlannedMessage
  const name = `${at} ${m.messageName(message.request)}`
  const choices: (() => string)[] = [
    () => {
      said.splice(at, 1)
      return `without ${name}`
    },
    () => {
      said.splice(random(said.length + 1), 0, { ...message, fds: [...message.fds] })
      return `${name} twice`
    },
    () => {
      said.splice(at, 1)
      said.splice(random(said.length + 1), 0, message)
      return `${name} elsewhere`
    },
    () => {
      message.request = random(45)
      return `${name} as ${message.request}`
    },
    () => {
      message.flags = random(16)
      return `${name} with flags ${message.flags}`
    },
    () => {
      message.size = random(4) === 0 ? random(0x1_0000_0000) : random(400)
      return `${name} with size ${message.size}`
    },
    () => {
      message.payload = message.payload.slice(0, random(message.payload.length + 1))
      return `${name} cut to ${message.payload.length}`
    },
    () => {
      const longer = new Uint8Array(message.payload.length + 1 + random(64))
      longer.set(message.payload)
      message.payload = longer
      return `${name} of ${longer.length} bytes`
    },
    () => {
      const kind = FD_KINDS[random(FD_KINDS.length)] as FdKind
      if (random(2) === 0) message.fds.push(kind)
      else message.fds = [kind]
      return `${name} with ${message.fds.join(', ')}`
    },
    () => {
      message.fds = []
      return `${name} without descriptors`
    },
    () => mutateField(message, name, random),
    () => mutateField(message, name, random),
    () => mutateField(message, name, random),
  ]
  return choices[random(choices.length)]?.() ?? ''
}

function mutateField(message: PlannedMessage, name: string, random: RandomBelow): string {
  const { payload } = message
  const bytes = [1, 2, 4, 8][random(4)] as number
  if (payload.length < bytes) return `${name} as it was`
  const at = random(Math.floor(payload.length / bytes)) * bytes
  const value = random(3) === 0 ? BigInt(random(0x1_0000_0000)) : (EDGES[random(EDGES.length)] as bigint)
  const changed = new Uint8Array(payload)
  const view = new DataView(changed.buffer)
  for (let i = 0; i < bytes; i++) view.setUint8(at + i, Number((value >> BigInt(8 * i)) & 0xffn))
  message.payload = changed
  return `${name} with 0x${value.toString(16)} at ${at}`
}

/** The messages as bytes: the header says `size` where it was changed. */
export function encodePlanned({ request, flags, payload, size }: PlannedMessage): Uint8Array {
  const bytes = new Uint8Array(12 + payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, request, true)
  view.setUint32(4, flags, true)
  view.setUint32(8, size ?? payload.length, true)
  bytes.set(payload, 12)
  return bytes
}
