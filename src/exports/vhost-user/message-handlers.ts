// What each message of a front-end does (vhost-user.rst, Front-end message types). A handler that throws leaves things as
// they were; who sent the message hears of it where it asked to.

import { BlockError } from '../../common/error.js'
import { decodeConfig, encodeConfig, VHOST_USER_CONFIG_MIGRATION } from '../../protocols/vhost-user/config.js'
import { decodeMemoryRegion, decodeMemoryTable } from '../../protocols/vhost-user/memory-regions.js'
import * as message from '../../protocols/vhost-user/messages.js'
import {
  decodeU64,
  decodeVringAddress,
  decodeVringDescriptor,
  decodeVringState,
  encodeU64,
  encodeVringState,
} from '../../protocols/vhost-user/payloads.js'
import { decodeInflight, decodeLog, encodeInflight } from '../../protocols/vhost-user/shared-area.js'
import { featureSet, hasFeature } from '../../protocols/virtio/features.js'
import { BackendChannel } from './backend-channel.js'
import type { VhostUserConnection } from './connection.js'
import { LogMemory } from './dirty-log/log-memory.js'
import { InflightMemory } from './inflight/inflight-memory.js'
import type { MemoryTable } from './memory-table.js'
import type { ReceivedMessage } from './message-socket.js'
import { freshBase } from './ring-position.js'

/** An answer; its descriptor is closed when it has been sent. */
export type Reply = { payload: Uint8Array; fd?: number } | undefined

/** How a message is handled. */
export interface Handler {
  /** Descriptors that may come with it; none by default. */
  descriptors?: number
  /** It has an answer of its own, and none besides. */
  replies?: true
  handle(connection: VhostUserConnection, received: ReceivedMessage): Reply | Promise<Reply>
  /** The answer that says that it failed; where there is none the connection ends. */
  failed?(received: ReceivedMessage): Reply
}

/** By message type. */
export const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [message.VHOST_USER_GET_FEATURES, question((c) => c.negotiation.offered)],
  [message.VHOST_USER_SET_FEATURES, { handle: setFeatures }],
  [message.VHOST_USER_SET_OWNER, { handle: () => undefined }],
  [message.VHOST_USER_RESET_OWNER, { handle: disableRings }],
  [message.VHOST_USER_GET_PROTOCOL_FEATURES, question((c) => c.negotiation.offeredProtocol)],
  [message.VHOST_USER_SET_PROTOCOL_FEATURES, { handle: setProtocolFeatures }],
  [message.VHOST_USER_GET_QUEUE_NUM, question((c) => c.device.queueCount)],
  [message.VHOST_USER_GET_MAX_MEM_SLOTS, question((c) => c.options.memorySlots)],
  [message.VHOST_USER_SET_MEM_TABLE, { descriptors: message.VHOST_MEMORY_BASELINE_NREGIONS, handle: setMemoryTable }],
  [message.VHOST_USER_ADD_MEM_REG, { descriptors: 1, handle: addMemoryRegion }],
  // Some front-ends send a descriptor along, to be closed (vhost-user.rst, VHOST_USER_REM_MEM_REG).
  [message.VHOST_USER_REM_MEM_REG, { descriptors: 1, handle: removeMemoryRegion }],
  [message.VHOST_USER_SET_LOG_BASE, { descriptors: 1, replies: true, handle: setLogBase }],
  [message.VHOST_USER_SET_LOG_FD, { descriptors: 1, handle: setLogEvent }],
  [message.VHOST_USER_SET_VRING_NUM, { handle: setVringSize }],
  [message.VHOST_USER_SET_VRING_ADDR, { handle: setVringAddress }],
  [message.VHOST_USER_SET_VRING_BASE, { handle: setVringBase }],
  [message.VHOST_USER_GET_VRING_BASE, { replies: true, handle: getVringBase }],
  [message.VHOST_USER_SET_VRING_KICK, { descriptors: 1, handle: setVringKick }],
  [message.VHOST_USER_SET_VRING_CALL, { descriptors: 1, handle: (c, m) => setVringEvent(c, m, 'call') }],
  [message.VHOST_USER_SET_VRING_ERR, { descriptors: 1, handle: (c, m) => setVringEvent(c, m, 'error') }],
  [message.VHOST_USER_SET_VRING_ENABLE, { handle: setVringEnable }],
  [message.VHOST_USER_VRING_KICK, { handle: kickVring }],
  [message.VHOST_USER_SET_BACKEND_REQ_FD, { descriptors: 1, handle: setBackendChannel }],
  [message.VHOST_USER_GET_CONFIG, { replies: true, handle: getConfig, failed: () => ({ payload: new Uint8Array(0) }) }],
  [message.VHOST_USER_SET_CONFIG, { handle: setConfig }],
  [message.VHOST_USER_GET_INFLIGHT_FD, { replies: true, handle: getInflight, failed: noInflight }],
  [message.VHOST_USER_SET_INFLIGHT_FD, { descriptors: 1, handle: setInflight }],
  [message.VHOST_USER_RESET_DEVICE, { handle: resetDevice }],
  [message.VHOST_USER_GET_STATUS, question((c) => c.negotiation.readStatus())],
  [message.VHOST_USER_SET_STATUS, { handle: setStatus }],
])

/** A message whose answer is a u64. A payload that nobody needs makes the answer as long. */
function question(answer: (connection: VhostUserConnection) => bigint | number): Handler {
  return {
    replies: true,
    handle(connection, { payload }) {
      return { payload: padded(encodeU64(answer(connection)), payload.byteLength) }
    },
  }
}

async function setFeatures(connection: VhostUserConnection, { payload }: ReceivedMessage): Promise<Reply> {
  const { negotiation, rings, logging } = connection
  const said = decodeU64(payload)
  const logs = hasFeature(said, message.VHOST_F_LOG_ALL)
  const value = said & ~featureSet(message.VHOST_F_LOG_ALL)
  if (logs) checkLogging(connection)
  // It comes several times while a front-end starts, and while rings run where it turns logging on and off.
  if (rings.anyRunning && negotiation.features !== value)
    throw new BlockError('EBUSY', 'other features while rings run')
  if (!rings.anyRunning && (!negotiation.isAgreed(value) || rings.ranSinceReset)) {
    await negotiation.setFeatures(value)
    rings.ranSinceReset = false
  }
  logging.logBuffers(logs)
  return undefined
}

/** Before rings run the log may come later: logging begins when both are there. */
function checkLogging({ negotiation, rings, logging }: VhostUserConnection): void {
  if (!negotiation.has(message.VHOST_USER_PROTOCOL_F_LOG_SHMFD)) {
    throw new BlockError('EINVAL', 'writes are to be logged, and no log as shared memory was agreed')
  }
  const begins = rings.anyRunning && !logging.logsBuffers
  if (begins && !logging.hasLog) throw new BlockError('EINVAL', 'writes are to be logged, and there is no log')
  logging.checkBuffers()
}

/** A log that cannot be used ends the connection: whoever believed in it would lose memory of the guest. */
function setLogBase(connection: VhostUserConnection, { payload, descriptors }: ReceivedMessage): Reply {
  const { ipc, negotiation, logging, options } = connection
  if (!negotiation.has(message.VHOST_USER_PROTOCOL_F_LOG_SHMFD)) {
    throw new BlockError('EINVAL', 'a log as shared memory was not agreed')
  }
  const described = decodeLog(payload)
  const fd = descriptors.take()
  if (fd === undefined) throw new BlockError('EPROTO', 'no descriptor of a log')
  const memory = LogMemory.map(ipc, fd, described, options)
  try {
    logging.useMemory(memory)
  } catch (error) {
    memory.unmap()
    throw error
  }
  return { payload: encodeU64(0) }
}

function setLogEvent({ ipc, logging }: VhostUserConnection, { descriptors }: ReceivedMessage): Reply {
  const fd = descriptors.take()
  if (fd === undefined) throw new BlockError('EPROTO', 'no descriptor to tell of the log by')
  logging.useEvent(fd)
  // Whoever does not read must not keep us waiting.
  ipc.setNonBlocking(fd)
  return undefined
}

function setProtocolFeatures({ negotiation }: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  negotiation.setProtocol(decodeU64(payload))
  return undefined
}

async function disableRings({ rings }: VhostUserConnection): Promise<Reply> {
  for (const ring of rings.rings) ring.enabled = false
  await rings.stopAll()
  return undefined
}

async function setMemoryTable(connection: VhostUserConnection, received: ReceivedMessage): Promise<Reply> {
  const described = decodeMemoryTable(received.payload, hasXen(connection))
  const next = connection.table.replaced(described, received.descriptors, connection.options)
  await replaceTable(connection, next)
  return undefined
}

async function addMemoryRegion(connection: VhostUserConnection, received: ReceivedMessage): Promise<Reply> {
  const { table, options } = connection
  if (table.regions.length >= options.memorySlots) throw new BlockError('ENOSPC', 'more memory regions than slots')
  const described = decodeMemoryRegion(received.payload, hasXen(connection))
  await replaceTable(connection, table.with(described, received.descriptors, options))
  return undefined
}

async function removeMemoryRegion(connection: VhostUserConnection, { payload }: ReceivedMessage): Promise<Reply> {
  await replaceTable(connection, connection.table.without(decodeMemoryRegion(payload, hasXen(connection))))
  return undefined
}

/** Threats.md U07: rings stop, their requests end, then the memory is another. */
async function replaceTable(connection: VhostUserConnection, next: MemoryTable): Promise<void> {
  try {
    connection.logging.checkTable(next.memoryEnd)
  } catch (error) {
    next.end(connection.table)
    throw error
  }
  await connection.rings.whileStopped(() => {
    const old = connection.table
    connection.useTable(next)
    old.end(next)
  })
}

function hasXen({ negotiation }: VhostUserConnection): boolean {
  return negotiation.has(message.VHOST_USER_PROTOCOL_F_XEN_MMAP)
}

function setVringSize({ rings }: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  const { index, num } = decodeVringState(payload)
  rings.setSize(index, num)
  return undefined
}

function setVringAddress({ rings }: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  rings.setAddress(decodeVringAddress(payload))
  return undefined
}

function setVringBase({ rings }: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  const { index, num } = decodeVringState(payload)
  rings.setBase(index, num)
  return undefined
}

/** Stops the ring; it waits for another kick descriptor before it runs again. */
async function getVringBase(connection: VhostUserConnection, { payload }: ReceivedMessage): Promise<Reply> {
  const { rings, negotiation, inflight } = connection
  const { index } = decodeVringState(payload)
  const ring = rings.get(index)
  await rings.stop(ring)
  if (ring.left === undefined) inflight?.forget(index)
  ring.setDescriptor('kick', undefined)
  ring.kickSource = 'none'
  return {
    payload: padded(encodeVringState({ index, num: ring.base ?? freshBase(negotiation.packed) }), payload.byteLength),
  }
}

function setVringKick(connection: VhostUserConnection, { payload, descriptors }: ReceivedMessage): Reply {
  const { rings, ipc } = connection
  const { index, hasDescriptor } = decodeVringDescriptor(payload)
  const ring = rings.get(index)
  const fd = hasDescriptor ? descriptors.take() : undefined
  if (hasDescriptor && fd === undefined) throw new BlockError('EPROTO', `ring ${index}: no kick descriptor`)
  ring.setDescriptor('kick', fd)
  ring.kickSource = fd === undefined ? 'polling' : 'event'
  if (fd !== undefined) ipc.setNonBlocking(fd)
  if (!ring.running) {
    rings.start(ring)
    return undefined
  }
  // It goes on with the new descriptor; what came by the old one may have been heard by nobody.
  rings.rewatch(ring)
  connection.kicked()
  return undefined
}

function setVringEvent(
  { rings, ipc }: VhostUserConnection,
  { payload, descriptors }: ReceivedMessage,
  which: 'call' | 'error',
): Reply {
  const { index, hasDescriptor } = decodeVringDescriptor(payload)
  const ring = rings.get(index)
  const fd = hasDescriptor ? descriptors.take() : undefined
  if (hasDescriptor && fd === undefined) throw new BlockError('EPROTO', `ring ${index}: no ${which} descriptor`)
  ring.setDescriptor(which, fd)
  // Whoever does not read must not keep us waiting.
  if (fd !== undefined) ipc.setNonBlocking(fd)
  // Front-ends that start a ring give it the driver's event last, and kicks may overtake messages: buffers that were used
  // before it came have been told of by an event that nobody hears.
  if (which === 'call' && ring.running) ring.call()
  return undefined
}

async function setVringEnable({ rings }: VhostUserConnection, { payload }: ReceivedMessage): Promise<Reply> {
  const { index, num } = decodeVringState(payload)
  if (num > 1) throw new BlockError('EINVAL', `ring ${index}: enabled by ${num}`)
  const ring = rings.get(index)
  ring.enabled = num === 1
  if (ring.enabled) rings.start(ring)
  else await rings.stop(ring)
  return undefined
}

function kickVring(connection: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  const { negotiation, rings } = connection
  const { index, num } = decodeVringState(payload)
  if (!negotiation.has(message.VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS)) {
    throw new BlockError('EINVAL', 'in-band notifications were not agreed')
  }
  if (num !== 0) throw new BlockError('EINVAL', `ring ${index}: a kick with ${num}`)
  const ring = rings.get(index)
  if (ring.kickSource === 'none') ring.kickSource = 'message'
  if (ring.running) connection.kicked()
  else rings.start(ring)
  return undefined
}

function setBackendChannel(connection: VhostUserConnection, { descriptors }: ReceivedMessage): Reply {
  const fd = descriptors.take()
  if (fd === undefined) throw new BlockError('EPROTO', 'no descriptor for a channel')
  connection.channel?.close()
  connection.channel = undefined
  const { ipc, negotiation } = connection
  try {
    ipc.setNonBlocking(fd)
    const answered = negotiation.has(message.VHOST_USER_PROTOCOL_F_REPLY_ACK)
    connection.channel = new BackendChannel(ipc, fd, answered)
  } catch (error) {
    ipc.close(fd)
    throw error
  }
  return undefined
}

function getConfig({ device }: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  const access = decodeConfig(payload)
  const data = new Uint8Array(access.size)
  device.readConfig(access.offset, data)
  return { payload: encodeConfig({ ...access, data }, payload.byteLength) }
}

function setConfig({ device }: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  const { offset, data, flags } = decodeConfig(payload)
  if (flags > VHOST_USER_CONFIG_MIGRATION) throw new BlockError('EINVAL', `configuration access with flags ${flags}`)
  device.writeConfig(offset, data)
  return undefined
}

function getInflight(connection: VhostUserConnection, { payload }: ReceivedMessage): Reply {
  const { queues, queueSize } = decodeInflight(payload)
  const { ipc, negotiation, rings } = connection
  if (rings.anyRunning) throw new BlockError('EBUSY', 'another record of requests in flight while rings run')
  if (queues > rings.rings.length) throw new BlockError('EINVAL', `a record for ${queues} rings`)
  const { memory, fd, bytes } = InflightMemory.create(ipc, { queues, queueSize, packed: negotiation.packed })
  connection.inflight?.unmap()
  connection.inflight = memory
  rings.recordReplaced()
  const described = { mmapSize: BigInt(bytes), mmapOffset: 0n, queues, queueSize }
  return { payload: encodeInflight(described, payload.byteLength), fd }
}

function noInflight({ payload }: ReceivedMessage): Reply {
  return { payload: new Uint8Array(payload.byteLength) }
}

function setInflight(connection: VhostUserConnection, { payload, descriptors }: ReceivedMessage): Reply {
  const described = decodeInflight(payload)
  const { ipc, negotiation, rings } = connection
  const fd = descriptors.take()
  if (fd === undefined) throw new BlockError('EPROTO', 'no descriptor of a record of requests in flight')
  try {
    if (rings.anyRunning) throw new BlockError('EBUSY', 'another record of requests in flight while rings run')
    const adopted = InflightMemory.adopt(ipc, fd, described, negotiation.packed)
    connection.inflight?.unmap()
    connection.inflight = adopted
    rings.recordReplaced()
  } finally {
    ipc.close(fd)
  }
  return undefined
}

/** All rings are disabled and the device is at its beginning. */
async function resetDevice(connection: VhostUserConnection): Promise<Reply> {
  const { rings, negotiation, inflight } = connection
  await rings.stopAll(() => false)
  for (const ring of rings.rings) {
    ring.enabled = false
    ring.base = undefined
    ring.left = undefined
    inflight?.forget(ring.index)
  }
  await negotiation.resetDevice()
  rings.ranSinceReset = false
  return undefined
}

/** 0 resets the device; where the rings stood is still asked for afterwards. */
async function setStatus(connection: VhostUserConnection, { payload }: ReceivedMessage): Promise<Reply> {
  const { rings, negotiation } = connection
  const value = decodeU64(payload)
  if (value > 0xffn) throw new BlockError('EINVAL', `a status of 0x${value.toString(16)}`)
  if (value !== 0n) {
    negotiation.status = Number(value)
    return undefined
  }
  await rings.stopAll()
  await negotiation.resetDevice()
  rings.ranSinceReset = false
  return undefined
}

function padded(payload: Uint8Array, bytes: number): Uint8Array {
  if (bytes <= payload.byteLength) return payload
  const longer = new Uint8Array(bytes)
  longer.set(payload)
  return longer
}
