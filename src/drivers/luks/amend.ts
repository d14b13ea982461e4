// Passwords added and taken away. The last one is never taken, nor one overwritten, unless the caller insists: that would end
// all access to the data.

import type { Clock } from '../../common/clock.js'
import { BlockError, quoteOutside } from '../../common/error.js'
import { integerOption, type OptionValues, stringOption } from '../../global-state/options/option-schema.js'
import { LUKS_NUM_KEYS } from './header.js'
import { measureIterations } from './iterations.js'
import { eraseKeySlot, fillKeySlot, type KeySlots, tryKeySlot, unlock } from './key-slots.js'
import { DEFAULT_ITER_TIME_MS } from './options.js'
import { passwordOf } from './volume.js'

/** Options of a change of key slots. qcow2 has them with `encrypt.` before their names. */
export const LUKS_AMEND_OPTIONS = {
  state: stringOption({ description: 'Select new state of affected keyslots (active/inactive)' }),
  'new-secret': stringOption({ description: 'New secret to set in the matching keyslots. Empty string to erase' }),
  'old-secret': stringOption({ description: 'Select all keyslots that match this password' }),
  keyslot: integerOption({ description: 'Select a single keyslot to modify explicitly' }),
  'iter-time': integerOption({ description: 'Time to spend in PBKDF in milliseconds' }),
}

/** The options as given. */
export type LuksAmendValues = OptionValues<typeof LUKS_AMEND_OPTIONS>

/** What a change of key slots needs besides its options. */
export interface LuksAmendment {
  readonly slots: KeySlots
  readonly clock: Clock
  /** A copy of the secret with this id. */
  secret(id: string): Uint8Array
  /** Id of the secret that opens the volume. */
  readonly openedBy: string
  /** Overwrite an active slot, take the last one away. */
  readonly force: boolean
}

/**
 * Activates or deactivates key slots. EINVAL for options that make no sense, or would end all access without `force`; EACCES
 * where the password that opened the volume opens it no more.
 */
export async function amendKeySlots(amendment: LuksAmendment, values: LuksAmendValues): Promise<void> {
  const { state, keyslot } = values
  if (state === undefined) throw refusal("Parameter 'state' is missing")
  if (state !== 'active' && state !== 'inactive') {
    throw refusal(`Parameter 'state' does not accept value ${quoteOutside(state)}`)
  }
  if (keyslot !== undefined && keyslot >= LUKS_NUM_KEYS) {
    throw refusal(`Invalid keyslot ${keyslot} specified, must be between 0 and ${LUKS_NUM_KEYS - 1}`)
  }
  return state === 'active' ? await activate(amendment, values) : await deactivate(amendment, values)
}

async function activate(amendment: LuksAmendment, values: LuksAmendValues): Promise<void> {
  const { slots, clock, secret, openedBy, force } = amendment
  const newSecret = values['new-secret']
  if (newSecret === undefined) throw refusal("'new-secret' is required to activate a keyslot")
  if (values['old-secret'] !== undefined) throw refusal("'old-secret' must not be given when activating keyslots")
  const free = slots.header.keySlots.findIndex(({ active }) => !active)
  const index = values.keyslot ?? free
  if (index < 0) throw refusal("Can't add a keyslot - all keyslots are in use")
  if (slots.header.keySlots[index]?.active === true && !force) {
    throw refusal(`Refusing to overwrite active keyslot ${index} - please erase it first`)
  }
  const password = passwordOf(newSecret, secret(newSecret))
  const { masterKey } = await unlock(slots, passwordOf(openedBy, secret(openedBy)))
  const ms = values['iter-time'] ?? DEFAULT_ITER_TIME_MS
  const iterations = await measureIterations(slots.crypto, clock, slots.hash, slots.header.keyBytes, ms)
  await fillKeySlot(slots, index, masterKey, password, iterations)
  masterKey.fill(0)
  password.fill(0)
}

async function deactivate(amendment: LuksAmendment, values: LuksAmendValues): Promise<void> {
  const { slots, force } = amendment
  if (values['new-secret'] !== undefined) throw refusal("'new-secret' must not be given when erasing keyslots")
  if (values['iter-time'] !== undefined) throw refusal("'iter-time' must not be given when erasing keyslots")
  const chosen = await slotsToErase(amendment, values)
  const activeCount = slots.header.keySlots.filter(({ active }) => active).length
  if (chosen.length === activeCount && !force) throw lastAccess(chosen, values['old-secret'] !== undefined)
  for (const index of chosen) await eraseKeySlot(slots, index)
}

/** The slots that the options name, by number, by password, or by both. */
async function slotsToErase({ slots, secret }: LuksAmendment, values: LuksAmendValues): Promise<number[]> {
  const { keyslot, 'old-secret': oldSecret } = values
  if (keyslot === undefined && oldSecret === undefined) {
    throw refusal(
      'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given',
    )
  }
  const password = oldSecret === undefined ? undefined : passwordOf(oldSecret, secret(oldSecret))
  if (keyslot !== undefined) {
    if (slots.header.keySlots[keyslot]?.active !== true) {
      throw refusal(`Given keyslot ${keyslot} is already erased (inactive) `)
    }
    if (password !== undefined && (await tryKeySlot(slots, keyslot, password)) === undefined) {
      throw refusal(`Given keyslot ${keyslot} doesn't contain the given old password for erase operation`)
    }
    return [keyslot]
  }
  const matching: number[] = []
  for (const index of slots.header.keySlots.keys()) {
    if (password !== undefined && (await tryKeySlot(slots, index, password)) !== undefined) matching.push(index)
  }
  if (matching.length === 0) throw refusal('No keyslots match given (old) password for erase operation')
  return matching
}

function lastAccess(chosen: readonly number[], byPassword: boolean): BlockError {
  const consequence = 'will erase all the data in the image irreversibly - refusing operation'
  return refusal(
    byPassword
      ? `All the active keyslots match the (old) password that was given and erasing them ${consequence}`
      : `Attempt to erase the only active keyslot ${chosen[0]} which ${consequence}`,
  )
}

function refusal(message: string): BlockError {
  return new BlockError('EINVAL', message, { op: 'amend' })
}
