// blockgraph/testing: what users and this project's own tests use to test drivers, graphs and emulators. Published.
// fast-check is an optional peer of the package; this entry needs it.

export { createDriverQueue } from '../devices/virtio/driver-queue/create-driver-queue.js'
export type { DriverQueue } from '../devices/virtio/driver-queue/driver-queue.js'
export { planQueue, type QueuePlan, type QueuePlanOptions } from '../devices/virtio/driver-queue/queue-plan.js'
export { graphCommands } from './arbitraries/graph-commands.js'
export { blockLimits } from './arbitraries/limits.js'
export { genericOptions, type NodeOptionsConstraints, nodeOptions } from './arbitraries/node-options.js'
export { anyPermissions, permissionPair } from './arbitraries/permissions.js'
export { type ArbitraryRequest, type RequestConstraints, request, requestKind } from './arbitraries/requests.js'
export { type ClientHooks, ClientRoot } from './client-root.js'
export { describeDriver } from './conformance/describe-driver.js'
export { type RandomOperation, randomOperations } from './conformance/random-operations.js'
export type { DriverFixture, DriverSupports, FixtureFactory, SuiteApi } from './conformance/suite.js'
export { type CrashCommand, type CrashCommandConstraints, crashCommands } from './crash/crash-commands.js'
export { type CrashPropertyOptions, crashProperty } from './crash/crash-property.js'
export { CrashFailure, type CrashFailureDetails } from './crash/crash-report.js'
export { type CrashRunOptions, type CrashSummary, runCrash } from './crash/crash-run.js'
export type { CrashDisk, CrashTarget, NodeOptions } from './crash/crash-target.js'
export { FAULT_KINDS, type FaultKind, type FaultRunOptions, type FaultSummary, runFaults } from './crash/fault-runs.js'
export { type LoggedChange, readWriteLog, recordingOfLog, replayWriteLog } from './crash/write-log.js'
export {
  checkClosed,
  checkInvariants,
  type GraphView,
  type Invariant,
  must,
  permissionInvariants,
  quiesceInvariants,
  requestInvariants,
  type SectionView,
  structureInvariants,
} from './invariants/index.js'
export type { EditCommand, GraphCommand, IoCommand } from './model/command.js'
export { graphModelProperty } from './model/property.js'
export { readyTest, replayGraphRun, replayScheduler, runGraphModel } from './model/run.js'
export { StageLog, stagedDriver } from './model/staged-driver.js'
export type { ModelScheduler, ModelWorld } from './model/world.js'
export { type OverlayState, overlayDriver } from './overlay-driver.js'
export { graphDifference, serialiseGraph } from './serialise-graph.js'
export { type ControlledRequest, Controller, controlledDriver, type Schedule } from './storage/controlled.js'
export { Fault, type FaultOp, FaultPlan, type FaultRule, faultDriver } from './storage/faults.js'
export { ChunkStore, contentOf, storageDriver, storageOf } from './storage/memory-storage.js'
export { applyEntry, type RecordEntry, Recording, recordingDriver } from './storage/recording.js'
export {
  GuestBlkDriver,
  type GuestBlkDriverOptions,
  type GuestCompletion,
  type GuestTransport,
} from './virtio/guest-blk-driver.js'
export { GuestDisk, type GuestDiskOptions } from './virtio/guest-disk.js'
export { settleMicrotasks, VirtualClock } from './virtual-clock.js'
