// info: what is known of an image, and with --backing-chain of those below it. Images are opened read-only, without what they
// name (threats.md N04); a chain is followed name by name, as far as the policy for such names allows.

import { BDRV_O_NO_BACKING, BDRV_O_NO_IO } from '../../common/open-flags.js'
import { failed } from '../error-text.js'
import { type ImageQueryValues, newImageQuery, readImageQuery } from '../image-query.js'
import { prettyJson } from '../json-text.js'
import { openImage } from '../open-image.js'
import { type Session, withSession } from '../session.js'
import { printable, type Tool, ToolError } from '../tool.js'
import { type ImageInfo, imageInfo, infoData, infoText } from './image-info.js'

interface Values extends ImageQueryValues {
  backingChain?: boolean
}

/** Images of one chain (threats.md, section 2). */
const MAX_CHAIN = 200

/** Runs `info`. */
export async function info(tool: Tool, args: readonly string[]): Promise<number> {
  const command = newImageQuery('info').option('--backing-chain')
  const { options, name, secrets } = readImageQuery<Values>(tool, command, args)
  const chain = await withSession(tool, (session) => {
    session.defineSecrets(secrets)
    return collect(session, name, options)
  })
  if (options.output === 'human') tool.out(chain.map(infoText).join('\n'))
  else {
    const data = chain.map(infoData)
    tool.out(`${prettyJson(options.backingChain === true ? data : data[0])}\n`)
  }
  return 0
}

/** The image, and those below it where they are asked for. */
async function collect(session: Session, first: string, options: Values): Promise<ImageInfo[]> {
  const { forceShare } = options
  const flags = BDRV_O_NO_BACKING | BDRV_O_NO_IO
  const chain: ImageInfo[] = []
  const seen = new Set<string>()
  let { format, imageOpts } = options
  let name = first
  for (;;) {
    if (seen.has(name)) throw new ToolError(`Backing file '${printable(name)}' creates an infinite loop.`)
    if (seen.size === MAX_CHAIN) throw new ToolError(`More than ${MAX_CHAIN} images in a chain.`)
    seen.add(name)
    const found = await imageInfo(await openImage(session, { name, format, imageOpts, forceShare, flags }))
    chain.push(found)
    const next = found['full-backing-filename']
    if (options.backingChain !== true || next === undefined) return chain
    await judgeName(session, found, next)
    name = next
    format = found['backing-filename-format']
    imageOpts = false
  }
}

/** A name inside an image is opened only where the session allows it. */
async function judgeName({ graph }: Session, found: ImageInfo, resolved: string): Promise<void> {
  try {
    const name = found['backing-filename'] ?? ''
    await graph.namePolicy({ image: found.filename, name, resolved, use: 'backing' })
  } catch (thrown) {
    throw failed(`Could not open '${printable(resolved)}'`, thrown)
  }
}
