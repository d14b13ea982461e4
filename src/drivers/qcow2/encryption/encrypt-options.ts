// Options of LUKS as an image has them: behind `encrypt.`.

import type { OptionField, OptionSchema } from '../../../global-state/options/option-schema.js'

export const ENCRYPT_PREFIX = 'encrypt.'

/** A schema with every name behind the prefix. */
export function toEncryptOptions(schema: OptionSchema): Record<string, OptionField<unknown>> {
  return Object.fromEntries(Object.entries(schema).map(([name, field]) => [`${ENCRYPT_PREFIX}${name}`, field]))
}

/** The values of `schema` among `values`, with the names that it has. */
export function fromEncryptOptions(
  schema: OptionSchema,
  values: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return Object.fromEntries(Object.keys(schema).map((name) => [name, values[`${ENCRYPT_PREFIX}${name}`]]))
}
