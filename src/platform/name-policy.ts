// Names found inside an image, judged by where they really lead on this host.

import { dirname, resolve } from 'node:path'
import { BlockError, quoteOutside } from '../common/error.js'
import { type FoundName, type NamePolicy, plainNamesPolicy } from '../global-state/name-policy.js'

/**
 * Allows what really lies in the folder of the image, however the name says so: links are followed first. EACCES for anything
 * else, and for names with a protocol prefix or control characters.
 */
export const realFolderPolicy: NamePolicy = async (found: FoundName) => {
  await plainNamesPolicy(found)
  const home = found.image === undefined ? undefined : await realFolder(found.image)
  if (home !== undefined && home === (await realFolder(found.resolved))) return
  const what = `${found.use} ${quoteOutside(found.name)} named by the image is not opened`
  throw new BlockError('EACCES', `${what}: it leaves the folder of the image`, {
    op: 'open',
    hint: 'give the child in the options, or open the graph with another namePolicy',
  })
}

/** The folder in which a file really stands; of one that is not there, the folder it would stand in. */
async function realFolder(path: string): Promise<string | undefined> {
  // Loaded here, as most images name no file.
  const { realpath } = process.getBuiltinModule('node:fs/promises')
  try {
    return dirname(await realpath(path))
  } catch {
    return realpath(dirname(resolve(path))).catch(() => undefined)
  }
}
