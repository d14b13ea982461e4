// Invariants of any graph, for tests of users.

export { checkInvariants, type GraphView, type Invariant, must } from './invariant.js'
export { permissionInvariants } from './permissions.js'
export { quiesceInvariants, type SectionView } from './quiesce.js'
export { requestInvariants } from './requests.js'
export { checkClosed, structureInvariants } from './structure.js'
