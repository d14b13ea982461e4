// Requests of the model test: one sector each, never two at once on a sector, so that what each may read or leave behind is known
// whatever the scheduler does.

import { type ErrnoName, isErrnoName } from '../../common/errno.js'
import { BLK_PERM_RESIZE, BLK_PERM_WRITE } from '../../common/permissions.js'
import type { RequestKind } from '../../common/request.js'
import type { BlockBackend } from '../../global-state/backend.js'
import type { NodeState } from '../../global-state/node-state.js'
import type { OverlayState } from '../overlay-driver.js'
import type { IoCommand } from './command.js'
import { MODEL_SECTORS } from './graph-model.js'
import type { StagedState } from './staged-driver.js'
import type { ModelWorld } from './world.js'

const SECTOR = 512

/** A request under way. What is possible grows while it waits, since the graph may change under it. */
export interface PendingRequest {
  readonly id: number
  readonly kind: RequestKind
  readonly backend: string
  /** Undefined for flush and truncate. */
  readonly sector: number | undefined
  readonly abort: AbortController | undefined
  readonly injectedBefore: number
  /** Values a read may give. */
  readonly values: Set<number>
  /** Layers a write may land in. */
  readonly layers: Set<string>
  /** Nodes a write surely went through: those on every path so far. */
  path: string[] | undefined
  readonly errors: Set<ErrnoName>
  possible: boolean
}

/** Issues a request; its completion is judged when it comes. */
export function startRequest(world: ModelWorld, command: Extract<IoCommand, { type: 'request' }>): void {
  const names = [...world.backends.keys()]
  const name = names[command.backend % Math.max(names.length, 1)]
  const backend = name === undefined ? undefined : world.backends.get(name)
  if (name === undefined || backend === undefined || world.requests.size >= MODEL_SECTORS) return
  const needsSector = command.kind !== 'flush' && command.kind !== 'truncate'
  const sector = needsSector ? freeSector(world, command.sector) : undefined
  if (needsSector && sector === undefined) return
  const request: PendingRequest = {
    id: ++world.nextId,
    kind: command.kind,
    backend: name,
    sector,
    abort: command.abort ? new AbortController() : undefined,
    injectedBefore: world.injected,
    values: new Set(),
    layers: new Set(),
    path: undefined,
    errors: new Set(),
    possible: false,
  }
  world.requests.add(request)
  world.submitted++
  widen(world, request)
  const into = new Uint8Array(SECTOR).fill(0xee)
  const settle = (judge: () => void) => {
    world.requests.delete(request)
    world.finished++
    try {
      judge()
    } catch (thrown) {
      world.faults.push(`request ${request.id} (${request.kind} of ${name}, sector ${sector}): ${String(thrown)}`)
    }
  }
  issue(backend, request, into).then(
    () => settle(() => judgeSuccess(world, request, into)),
    (error: unknown) => settle(() => judgeFailure(world, request, error)),
  )
}

/** Adds what has become possible. To be called when the request begins and after every change of the model. */
export function widen(world: ModelWorld, request: PendingRequest): void {
  const { model } = world
  const backend = model.backends.get(request.backend)
  if (world.losing.has(request.backend)) request.errors.add('ENOMEDIUM')
  if (backend === undefined || request.abort !== undefined) request.errors.add('ECANCELED')
  if (backend === undefined) return
  if (backend.node === undefined) {
    request.errors.add('ENOMEDIUM')
    return
  }
  const reads = request.kind === 'read' || request.kind === 'flush'
  const wanted = request.kind === 'truncate' ? BLK_PERM_RESIZE : BLK_PERM_WRITE
  const node = model.node(backend.node)
  if (!reads && ((backend.perm & wanted) === 0 || node.readOnly || node.inactive)) {
    request.errors.add('EPERM')
    if (request.kind === 'truncate') request.errors.add('EACCES')
    // Without a bit to change, some requests have nothing to refuse; those that changed something show it in the data.
    if ((backend.perm & wanted) === 0) return
  }
  request.possible = true
  if (request.sector === undefined) return
  const path = model.path(backend.node)
  request.path = request.path === undefined ? path : request.path.filter((name) => path.includes(name))
  request.layers.add(model.layerOf(backend.node))
  request.values.add(model.visible(backend.node, request.sector))
}

/** What a layer really holds: a stamp, 0, or undefined where it leaves the sector to its backing file. */
export function peek(node: NodeState, sector: number): number | undefined {
  if (node.driver.name === 'overlay') {
    const cluster = (node.driverState as OverlayState).clusters.get(sector)
    return cluster === undefined ? undefined : cluster === null ? 0 : stampOf(cluster)
  }
  const data = new Uint8Array(SECTOR)
  ;(node.driverState as StagedState).store.read(sector * SECTOR, data)
  return stampOf(data)
}

function issue(backend: BlockBackend, request: PendingRequest, into: Uint8Array): Promise<void> {
  const options = request.abort === undefined ? undefined : { signal: request.abort.signal }
  const offset = (request.sector ?? 0) * SECTOR
  switch (request.kind) {
    case 'read':
      return backend.read(offset, into, options)
    case 'write':
      return backend.write(offset, stampedSector(request.id), options)
    case 'write-zeroes':
      return backend.writeZeroes(offset, SECTOR, options)
    case 'discard':
      return backend.discard(offset, SECTOR, options)
    case 'truncate':
      return backend.truncate((MODEL_SECTORS + (request.id % 4)) * SECTOR, options)
    default:
      return backend.flush(options)
  }
}

function judgeSuccess(world: ModelWorld, request: PendingRequest, into: Uint8Array): void {
  widen(world, request)
  if (!request.possible) throw new Error('it succeeded, but was never allowed')
  const { sector } = request
  if (sector === undefined) return
  if (request.kind === 'read') {
    const found = stampOf(into)
    if (!request.values.has(found)) throw new Error(`it read ${found}, expected one of ${[...request.values].join()}`)
    return
  }
  const landed = adoptData(world, request, sector)
  if (request.kind === 'write' && landed !== 1) throw new Error(`${landed} layers hold what it wrote, expected 1`)
  if (request.kind === 'write-zeroes' && landed === 0) throw new Error('no layer reads as zero')
  if (request.kind !== 'discard') markBitmaps(world, request, sector)
}

function judgeFailure(world: ModelWorld, request: PendingRequest, error: unknown): void {
  widen(world, request)
  const code = (error as { code?: unknown }).code
  const injected = world.injected > request.injectedBefore && (code === 'EIO' || code === 'ENOSPC')
  if (typeof code !== 'string' || !isErrnoName(code) || !(request.errors.has(code) || injected)) {
    throw new Error(`unexpected ${String(error)}; possible were ${[...request.errors].join()}`)
  }
  // It may have had its effect, or a part, all the same.
  if (request.sector !== undefined && request.kind !== 'read') adoptData(world, request, request.sector)
}

/** Takes over what the request left behind; the number of layers that hold it. */
function adoptData(world: ModelWorld, request: PendingRequest, sector: number): number {
  let landed = 0
  const wanted = request.kind === 'write' ? request.id : 0
  for (const [name, node] of world.everNodes) {
    const layer = world.model.layers.get(name)
    if (layer === undefined) continue
    const found = peek(node, sector)
    if (found !== wanted || (wanted === 0 && !request.layers.has(name))) continue
    if (!request.layers.has(name)) throw new Error(`it landed in ${name}, which its backend never showed`)
    landed++
    layer[sector] = found
  }
  return landed
}

function markBitmaps(world: ModelWorld, request: PendingRequest, sector: number): void {
  for (const name of request.path ?? []) {
    for (const bitmap of world.model.bitmaps.get(name)?.values() ?? [])
      if (bitmap.since < world.steps) bitmap.dirty.add(sector)
  }
}

function freeSector(world: ModelWorld, first: number): number | undefined {
  const taken = new Set([...world.requests].map((request) => request.sector))
  for (let step = 0; step < MODEL_SECTORS; step++) {
    const sector = (first + step) % MODEL_SECTORS
    if (!taken.has(sector)) return sector
  }
  return undefined
}

function stampedSector(stamp: number): Uint8Array {
  const sector = new Uint8Array(SECTOR).fill(stamp & 0xff)
  new DataView(sector.buffer).setUint32(0, stamp)
  return sector
}

/** The stamp of a sector; throws where it is torn. */
function stampOf(sector: Uint8Array): number {
  const stamp = new DataView(sector.buffer, sector.byteOffset).getUint32(0)
  for (let at = 4; at < sector.byteLength; at++)
    if (sector[at] !== (stamp & 0xff)) throw new Error(`torn sector of stamp ${stamp}`)
  return stamp
}
