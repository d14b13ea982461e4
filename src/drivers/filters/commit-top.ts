// commit-top: stands between an overlay and the layer below while a commit writes to the latter. It asks nothing of its child
// and lets others do anything, so that what the overlay does not allow keeps nobody from writing there. Only the operation
// that inserts it opens one.

import { BLK_PERM_ALL } from '../../common/permissions.js'
import { defineDriver } from '../../global-state/driver.js'
import { read } from '../../io/read.js'
import { childLength, openFiltered } from './forward.js'

/** Lets the layer below it change. */
export const commitTopDriver = defineDriver({
  name: 'commit-top',
  kind: 'filter',
  filteredChildIsBacking: true,
  options: {},
  childNames: ['backing'],
  async open(context) {
    const below = await openFiltered(context, 'backing')
    return {
      io: {
        relays: true,
        length: () => childLength(below),
        read: (offset, into, flags) => read(below, offset, into, flags),
      },
      state: undefined,
    }
  },
  childPermissions: () => ({ perm: 0, shared: BLK_PERM_ALL }),
})
