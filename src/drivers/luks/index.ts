// luks: a LUKS1 volume in a file, as a disk. What users of the format know: a secret opens it, and creation says which cipher.

import { BDRV_CHILD_IMAGE } from '../../common/child-role.js'
import { BlockError } from '../../common/error.js'
import { MAX_LENGTH } from '../../common/limits.js'
import { BDRV_O_NO_IO } from '../../common/open-flags.js'
import { BDRV_REQ_FUA, BDRV_REQ_WRITE_UNCHANGED } from '../../common/request.js'
import { alignUp } from '../../common/units.js'
import { type CreateContext, defineDriver, type OpenContext, type OpenedNode } from '../../global-state/driver.js'
import { type OptionValues, sizeOption, stringOption } from '../../global-state/options/option-schema.js'
import type { BlockChild } from '../../io/block-node.js'
import { amendKeySlots, LUKS_AMEND_OPTIONS, type LuksAmendValues } from './amend.js'
import { createVolume, type LuksCreation, newPayloadOffset } from './create.js'
import { fileArea } from './file-area.js'
import { isLuks, LUKS_HEADER_BYTES, LUKS_SECTOR_BYTES } from './header.js'
import type { KeySlots } from './key-slots.js'
import { openPayload, readLuksHeader } from './open.js'
import { DEFAULT_ITER_TIME_MS, LUKS_CREATE_OPTIONS, readCreation } from './options.js'
import { type LuksState, payloadIo } from './payload.js'
import type { SectorCipher } from './sector-cipher.js'
import { cryptoOf, passwordOf } from './volume.js'

/** What more there is to choose is the protocol's. */
const CREATE_OPTIONS = {
  size: sizeOption({ required: true, description: 'Virtual disk size' }),
  ...LUKS_CREATE_OPTIONS,
}

/** Volumes of LUKS version 1. */
export const luksDriver = defineDriver({
  name: 'luks',
  kind: 'format',
  encrypted: true,
  options: { 'key-secret': stringOption({ description: 'id of the secret that opens the volume' }) },
  strongOptions: ['key-secret'],
  childNames: ['file'],
  probe: (header) => (isLuks(header) && header[6] === 0 && header[7] === 1 ? 100 : 0),
  async open(context, options): Promise<OpenedNode<LuksState>> {
    // Whoever only asks about the volume needs no key, and does not get to its data either.
    const secretId = (context.openFlags & BDRV_O_NO_IO) === 0 ? secretOf(options, 'open') : undefined
    const file = await context.child('file', BDRV_CHILD_IMAGE)
    const slots = await readVolume(context, file)
    const cipher = secretId === undefined ? undefined : await openCipher(context, slots, secretId)
    const state: LuksState = { file, slots, cipher, secretId, clock: context.environment.clock }
    return {
      io: payloadIo(state),
      state,
      writeFlags: BDRV_REQ_WRITE_UNCHANGED | (BDRV_REQ_FUA & file.node.state.writeFlags),
      limits: { requestAlignment: LUKS_SECTOR_BYTES },
    }
  },
  createOptions: CREATE_OPTIONS,
  async create(context, options) {
    const values = options as CreateValues
    const plan = planVolume(context, values)
    const { edge } = await context.createFile({ size: plan.bytes })
    await createVolume(plan.creation, fileArea(edge, 0, plan.start), plan.password)
  },
  measure(context, options) {
    const { bytes } = planVolume(context, options as CreateValues)
    return { required: bytes, fullyAllocated: bytes }
  },
  amendOptions: LUKS_AMEND_OPTIONS,
  async amend({ slots, clock, secretId: openedBy }, { force, secret }, options) {
    if (openedBy === undefined) throw new BlockError('EACCES', 'the volume was opened without its key', { op: 'amend' })
    await amendKeySlots({ slots, clock, secret, openedBy, force }, options as LuksAmendValues)
  },
})

type CreateValues = OptionValues<typeof CREATE_OPTIONS>

/** A new volume that its options allow: where its payload begins, how long the file is. */
function planVolume(
  { environment, secret }: Pick<CreateContext, 'environment' | 'secret'>,
  values: CreateValues,
): { creation: LuksCreation; password: Uint8Array; start: number; bytes: number } {
  const crypto = cryptoOf(environment.services)
  const secretId = secretOf(values, 'create')
  const password = passwordOf(secretId, secret(secretId))
  const { spec, hash } = readCreation(crypto, values)
  const start = newPayloadOffset(spec.keyBytes)
  const bytes = start + alignUp(values.size, LUKS_SECTOR_BYTES)
  if (bytes > MAX_LENGTH) throw new BlockError('EFBIG', 'The requested file size is too large', { op: 'create' })
  const iterTimeMs = values['iter-time'] ?? DEFAULT_ITER_TIME_MS
  return { creation: { crypto, clock: environment.clock, spec, hash, iterTimeMs }, password, start, bytes }
}

/** The header, and what lies between it and the payload. */
async function readVolume(context: OpenContext, file: BlockChild): Promise<KeySlots> {
  const crypto = cryptoOf(context.environment.services)
  const slots = await readLuksHeader(crypto, fileArea(file, 0, file.node.state.length))
  const { payloadOffset } = slots.header
  // A header that was put apart says so by 0.
  if (payloadOffset < LUKS_HEADER_BYTES) throw new BlockError('ENOTSUP', 'the LUKS header belongs to another file')
  return slots
}

function openCipher(context: OpenContext, slots: KeySlots, secretId: string): Promise<SectorCipher> {
  return openPayload(slots, passwordOf(secretId, context.secret(secretId)), context.signal)
}

function secretOf(options: { 'key-secret': string | undefined }, op: string): string {
  const secretId = options['key-secret']
  if (secretId !== undefined) return secretId
  throw new BlockError('EINVAL', "Parameter 'key-secret' is required for cipher", { op })
}
