// convert -l: what is copied is a snapshot inside the source, by id, name or both.

import { parseOptionString } from '../../global-state/options/option-text.js'
import type { SnapshotName } from '../../global-state/snapshot.js'
import { messageText } from '../error-text.js'
import { drainedOn, type OpenImage, type Session } from '../session.js'
import { printable, ToolError } from '../tool.js'

/** What `-l` says: `snapshot.id=...,snapshot.name=...`, or an id or else a name. */
export function snapshotArgument(text: string): SnapshotName {
  if (!text.startsWith('snapshot.')) return text
  const options = parseOptionString(text)
  const unknown = Object.keys(options).find((key) => key !== 'snapshot.id' && key !== 'snapshot.name')
  if (unknown !== undefined) {
    const what = `Failed in parsing snapshot param '${text}'`
    throw new ToolError(`Invalid parameter '${printable(unknown)}'\n${what}`)
  }
  const { 'snapshot.id': id, 'snapshot.name': name } = options
  return {
    ...(id === undefined ? {} : { id: String(id) }),
    ...(name === undefined ? {} : { name: String(name) }),
  }
}

/** Shows the snapshot in place of the disk of the only source. */
export async function showSnapshot(
  session: Session,
  sources: readonly OpenImage[],
  wanted: SnapshotName,
): Promise<void> {
  const [source] = sources
  if (source === undefined) return
  if (sources.length > 1) throw new ToolError('No support for concatenating multiple snapshot')
  const { node } = source
  const fail = (why: string) => new ToolError(`Failed to load snapshot: ${why}`)
  if (node.definition.snapshots === undefined) {
    const driver = node.driver.name
    throw fail(`Block format '${driver}' used by device '' does not support temporarily loading internal snapshots`)
  }
  const { findSnapshot, loadSnapshot } = await import('../../global-state/snapshot.js')
  if (findSnapshot(node, wanted) === undefined) throw fail("Can't find snapshot")
  try {
    await drainedOn(session, source, (main, quiet) => loadSnapshot(main, quiet, node, wanted))
  } catch (thrown) {
    throw fail(messageText(thrown))
  }
}
