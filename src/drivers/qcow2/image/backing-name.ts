// The name of the backing file in the header, and its format in an extension (qcow2 specification, "Header" and "Header
// extensions"). Only what the header says changes: what is open stays.

import { encodeText } from '../format/extensions.js'
import { AUTOCLEAR_DATA_FILE_RAW, MAX_BACKING_NAME } from '../format/header.js'
import { writeHeader } from '../metadata/header-update.js'
import { beginWriting } from '../metadata/writing.js'
import { hasDataFile, imageError, type Qcow2State } from '../state.js'

/** Bytes of a format's name in its extension. */
const MAX_FORMAT_NAME = 15

/**
 * Names another backing file, or none. EINVAL for names that are too long, and where the data file is to stand for itself;
 * ENOSPC where the first cluster is full.
 */
export async function changeBackingFile(
  state: Qcow2State,
  filename: string | undefined,
  format: string | undefined,
): Promise<void> {
  const raw = hasDataFile(state) && (state.header.autoclearFeatures & AUTOCLEAR_DATA_FILE_RAW) !== 0n
  if (filename !== undefined && raw) {
    throw imageError(state, 'EINVAL', 'an image whose data file is raw has no backing file')
  }
  refuseLong(state, 'backing file', filename, MAX_BACKING_NAME)
  refuseLong(state, 'backing format', format, MAX_FORMAT_NAME)
  await state.lock.runExclusive(async () => {
    await beginWriting(state)
    await writeHeader(state, {}, { backingName: filename ?? null, extensions: { backingFormat: format } })
  })
}

/** What the header says of the backing file; undefined where there is none. */
export function namedBacking(state: Qcow2State): { filename: string; format: string | undefined } | undefined {
  const { backingName, extensions } = state
  return backingName === undefined || backingName === ''
    ? undefined
    : { filename: backingName, format: extensions.backingFormat }
}

function refuseLong(state: Qcow2State, what: string, name: string | undefined, most: number): void {
  if (name === undefined || encodeText(name).byteLength <= most) return
  throw imageError(state, 'EINVAL', `the name of the ${what} is longer than ${most} bytes`)
}
