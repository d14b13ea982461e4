// Passwords of an encrypted image added and taken away, by the options of LUKS behind `encrypt.`.

import { BlockError } from '../../../common/error.js'
import type { OptionField } from '../../../global-state/options/option-schema.js'
import { amendKeySlots, LUKS_AMEND_OPTIONS, type LuksAmendValues } from '../../luks/amend.js'
import { CRYPT_NONE } from '../format/header.js'
import { imageError, type Qcow2State } from '../state.js'
import { fromEncryptOptions, toEncryptOptions } from './encrypt-options.js'

/** Options of a change of an image that concern its encryption. */
export const QCOW2_ENCRYPTION_AMEND_OPTIONS: Readonly<Record<string, OptionField<unknown>>> =
  toEncryptOptions(LUKS_AMEND_OPTIONS)

/** What a change may use. */
export interface EncryptionAmendment {
  /** A copy of the secret with this id. */
  secret(id: string): Uint8Array
  /** Overwrite a password that is in use, take the last one away. */
  readonly force: boolean
}

/** Does what the options of encryption among `values` ask for, if any is there. As `amendKeySlots`; EINVAL for other encryptions. */
export async function amendEncryption(
  state: Qcow2State,
  { secret, force }: EncryptionAmendment,
  values: Readonly<Record<string, unknown>>,
): Promise<void> {
  const given = fromEncryptOptions(LUKS_AMEND_OPTIONS, values) as LuksAmendValues
  if (Object.values(given).every((value) => value === undefined)) return
  const { header, luks, environment } = state
  if (header.cryptMethod === CRYPT_NONE) {
    throw imageError(state, 'EINVAL', "Can't amend encryption options - encryption not present")
  }
  if (luks === undefined) throw imageError(state, 'EINVAL', 'Only LUKS encryption options can be amended')
  if (luks.secretId === undefined) throw new BlockError('EACCES', 'the image was opened without the key to its data')
  await amendKeySlots({ slots: luks.slots, clock: environment.clock, secret, openedBy: luks.secretId, force }, given)
}
