// Opening nodes: from a definition (options) to a registered node with its children attached. A failure at
// any point closes what was opened on the way and leaves the graph as it was.

import { assert } from '../../common/assert.js'
import { childRolesFault } from '../../common/child-role.js'
import { BlockError, quoteOutside, toBlockError } from '../../common/error.js'
import { pathHasProtocol } from '../../common/filename.js'
import { MAX_LENGTH } from '../../common/limits.js'
import { BDRV_O_PROTOCOL } from '../../common/open-flags.js'
import { recomputeGates } from '../../io/gates.js'
import { loadStored } from '../bitmaps/stored-bitmaps.js'
import { fitDrainAll } from '../drain-all.js'
import type { BlockDriver } from '../driver.js'
import { applyPlan } from '../edit/apply-plan.js'
import { computeLimits } from '../edit/limits.js'
import { GraphPlan } from '../edit/plan.js'
import type { BlockGraph } from '../graph.js'
import type { MainLoop, MainLoopCall } from '../main-loop.js'
import { NodeState } from '../node-state.js'
import { readOptions } from '../options/option-schema.js'
import { parseJsonFilename } from '../options/option-text.js'
import { type FlatOptions, flattenOptions, type OptionScalar } from '../options/options.js'
import { releaseNode } from './close.js'
import { OpenNodeContext } from './open-context.js'
import {
  effectiveOptions,
  flagsFromOptions,
  type Inheritance,
  inheritedFlags,
  inheritOptions,
  readGenericOptions,
} from './open-options.js'
import type { OpenRequest, OpenSettings } from './open-request.js'
import { probeFormat } from './probe.js'

/**
 * Opens a node from `options` (nested objects or dotted keys): `driver`, `node-name`, the generic options, the driver's
 * own, and its children, each inline (`file: {...}`, `'file.filename'`) or by the name of a node (`file: 'disk'`). The
 * caller holds the node until `closeNode`. Rejects with EINVAL for unknown, leftover or ill-typed options (naming driver
 * and option), EEXIST for a name taken, EPERM for conflicting permissions, and with what the driver reports.
 */
export function openNode(
  main: MainLoop,
  graph: BlockGraph,
  options: Readonly<Record<string, unknown>>,
  settings: OpenSettings = {},
): Promise<NodeState> {
  return main.call('openNode', graph.environment, async (call) => {
    const request = openRequest(main, call, graph, settings)
    const node = await openDefinition(request, flattenOptions(options), undefined)
    node.holds += 1
    return node
  })
}

/** The request at the top of an open. `deferPermissions` leaves the node's wishes to a plan that follows. */
export function openRequest(
  main: MainLoop,
  call: MainLoopCall,
  graph: BlockGraph,
  settings: OpenSettings,
  deferPermissions = false,
): OpenRequest {
  const found = { count: 0 }
  const top = { depth: 0, found, above: undefined, named: false }
  return { main, call, graph, settings, ...top, deferPermissions, open: openDefinition }
}

/** Opens an inline definition. The node returned has no hold: whoever asked links it or releases it. */
export async function openDefinition(
  request: OpenRequest,
  given: FlatOptions,
  from: Inheritance | undefined,
): Promise<NodeState> {
  const { main, graph } = request
  if (request.depth % 32 === 31) await Promise.resolve()
  refuseAborted(request)
  const said = mergeJsonFilename(given)
  const flat = from === undefined ? said : inheritOptions(said, from)
  // The settings' flags are the top node's; what is below inherits by role.
  const inherited = from === undefined ? (request.settings.flags ?? 0) : inheritedFlags(from)
  const chosen = await chooseDriver(request, flat, inherited)
  const { driver } = chosen
  const name = typeof flat['node-name'] === 'string' ? flat['node-name'] : undefined
  try {
    const { values, rest } = readGenericOptions(chosen.options, { driver: driver.name, node: name })
    const own = readOptions(driver.options, rest, { driver: driver.name, node: name })
    const nodeName = graph.reserveName(main, values['node-name'])
    const node = new NodeState({
      graph,
      nodeName,
      definition: driver,
      openFlags: flagsFromOptions(values, inherited & ~BDRV_O_PROTOCOL),
      detectZeroes: values['detect-zeroes'],
    })
    // In the driver's own words, so that a reopen can read them; what was inherited is not explicit.
    node.explicitOptions = ownOptions(
      chosen.options,
      own.rest,
      driver,
      (key) => !Object.hasOwn(flat, key) || Object.hasOwn(said, key),
    )
    node.options = { ...ownOptions(chosen.options, own.rest, driver), ...effectiveOptions(values) }
    node.probed = chosen.probed
    const drainAllDepth = graph.drainAllDepth
    node.state.quiesceCounter = drainAllDepth
    const context = new OpenNodeContext(request, node, own.rest, chosen.file, inherited & BDRV_O_PROTOCOL)
    try {
      await openDriver(request, node, context, own.values)
      register(request, node, drainAllDepth)
    } catch (thrown) {
      await undoOpen(request, node, context)
      throw toBlockError(thrown, { node: nodeName, op: 'open' })
    }
    return node
  } finally {
    // A file node opened for probing that found no use goes again.
    if (chosen.file !== undefined) await releaseNode(request.main, chosen.file, request.call)
  }
}

async function openDriver(
  request: OpenRequest,
  node: NodeState,
  context: OpenNodeContext,
  values: Record<string, unknown>,
): Promise<void> {
  const { call } = request
  const opened = await node.definition.open(context, values)
  node.io = opened.io
  // In the same step as the methods appear: a drain that begins or ends from now on tells them itself.
  if (node.state.quiesceCounter > 0) node.io.drainBegin?.()
  node.driverState = opened.state
  node.ownLimits = opened.limits ?? {}
  node.opened = true
  const { state } = node
  state.readFlags = opened.readFlags ?? 0
  state.writeFlags = opened.writeFlags ?? 0
  state.zeroFlags = opened.zeroFlags ?? 0
  state.truncateFlags = opened.truncateFlags ?? 0
  context.refuseLeftovers()
  const fault = childRolesFault(
    node.children.map((edge) => edge.role),
    node.driver.kind,
  )
  assert(fault === undefined, `driver ${node.driver.name} opened impossible children: ${fault}`)
  state.length = await askLength(node)
  const plan = new GraphPlan()
  for (const [changed, limits] of computeLimits(plan, [node])) changed.state.limits = limits
  recomputeGates(state)
  if (!request.deferPermissions) {
    plan.refresh(node)
    await applyPlan(call, plan, undefined, 'open')
  }
  call.resumed()
  refuseAborted(request)
  // Last, since it marks the stored ones as in use: an open that fails leaves them as they were.
  await loadStored(node)
}

function refuseAborted(request: OpenRequest): void {
  if (request.settings.signal?.aborted !== true) return
  throw new BlockError('ECANCELED', 'the open was aborted', { op: 'open' })
}

function register(request: OpenRequest, node: NodeState, drainAllDepth: number): void {
  const { main, graph } = request
  graph.addNode(main, node)
  fitDrainAll(graph, node, drainAllDepth)
  graph.trace.emit('node-opened', { node: node.nodeName, driver: node.driver.name })
}

async function askLength(node: NodeState): Promise<number> {
  const length = await node.io.length()
  if (length > MAX_LENGTH)
    throw new BlockError('EFBIG', `its length exceeds ${MAX_LENGTH} bytes`, { node: node.nodeName, op: 'open' })
  assert(Number.isSafeInteger(length) && length >= 0, `driver ${node.driver.name} reports the length ${length}`)
  return length
}

async function undoOpen(request: OpenRequest, node: NodeState, context: OpenNodeContext): Promise<void> {
  const { main, graph } = request
  context.close()
  if (node.opened) {
    try {
      await node.definition.close?.(node.driverState)
    } catch (thrown) {
      graph.trace.emit('background-error', {
        node: node.nodeName,
        message: 'close after a failed open failed',
        error: thrown,
      })
    }
  }
  const children = node.children.map((edge) => edge.node)
  const plan = new GraphPlan()
  plan.unconditional = true
  for (const edge of [...node.children]) plan.detach(edge)
  await applyPlan(request.call, plan, undefined, 'open')
  node.closed = true
  graph.releaseName(main, node.nodeName)
  for (const child of children.reverse()) await releaseNode(main, child, request.call)
}

interface ChosenDriver {
  driver: BlockDriver
  options: FlatOptions
  probed: boolean
  /** The file node opened for probing, without a hold. */
  file: NodeState | undefined
}

/** Decides the driver: the one named, else the protocol a file name asks for, else (only on request) a guess. */
async function chooseDriver(request: OpenRequest, flat: FlatOptions, inherited: number): Promise<ChosenDriver> {
  const { graph, settings } = request
  // Settings are handed down with a request; this one is the top node's.
  if (settings.driver !== undefined && request.depth === 0) {
    return { driver: settings.driver, options: flat, probed: false, file: undefined }
  }
  const named = flat.driver
  if (typeof named === 'string') {
    const driver = graph.registry.find(named)
    if (driver === undefined) throw new BlockError('EINVAL', `unknown driver ${quoteOutside(named)}`, { op: 'open' })
    return { driver, options: filenameForFile(parseFilename(driver, flat), driver), probed: false, file: undefined }
  }
  if (named !== undefined) throw new BlockError('EINVAL', "option 'driver' must be a string", { op: 'open' })
  const filename = flat.filename
  if ((inherited & BDRV_O_PROTOCOL) !== 0) {
    const driver = protocolFor(graph, filename)
    return { driver, options: parseFilename(driver, flat), probed: false, file: undefined }
  }
  if (settings.probe !== true) {
    throw new BlockError('EINVAL', "a node needs the option 'driver': the format is not guessed unless asked", {
      op: 'open',
      hint: 'name the driver, or open with { probe: true }',
    })
  }
  const probe = await probeFormat(request, filenameForFile(flat, undefined))
  return { driver: probe.driver, options: probe.options, probed: true, file: probe.file }
}

/** The protocol driver of a file name: by its prefix, else `file`. */
function protocolFor(graph: BlockGraph, filename: FlatOptions[string] | undefined): BlockDriver {
  const prefix =
    typeof filename === 'string' && pathHasProtocol(filename) ? filename.slice(0, filename.indexOf(':')) : undefined
  const driver = prefix === undefined ? graph.registry.find('file') : graph.registry.findProtocol(prefix)
  if (driver !== undefined) return driver
  const what =
    prefix === undefined
      ? "the driver 'file' is not among the drivers of this graph"
      : `unknown protocol ${quoteOutside(prefix)}`
  throw new BlockError('EINVAL', what, { op: 'open' })
}

function parseFilename(driver: BlockDriver, flat: FlatOptions): FlatOptions {
  const { filename } = flat
  if (typeof filename !== 'string' || driver.parseFilename === undefined) return flat
  const { filename: _, ...others } = flat
  return { ...flattenOptions(driver.parseFilename(filename)), ...others }
}

/** A format or filter is given a file name: it is its file's. */
function filenameForFile(flat: FlatOptions, driver: BlockDriver | undefined): FlatOptions {
  if (driver?.kind === 'protocol' || (driver !== undefined && Object.hasOwn(driver.options, 'filename'))) return flat
  const { filename, ...others } = flat
  if (filename === undefined) return flat
  return { 'file.filename': filename, ...others }
}

function mergeJsonFilename(flat: FlatOptions): FlatOptions {
  const { filename, ...others } = flat
  if (typeof filename !== 'string' || !filename.startsWith('json:')) return flat
  // What was given explicitly wins over what the name says.
  return { ...parseJsonFilename(filename), ...others }
}

/** The options that are the node's own: what was given, less what is left for its children and what `take` refuses. */
function ownOptions(
  given: FlatOptions,
  rest: FlatOptions,
  driver: BlockDriver,
  take: (key: string) => boolean = () => true,
): FlatOptions {
  const own: Record<string, OptionScalar> = { driver: driver.name }
  for (const [key, value] of Object.entries(given)) if (!Object.hasOwn(rest, key) && take(key)) own[key] = value
  return own
}
