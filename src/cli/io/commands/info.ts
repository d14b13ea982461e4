// length and info: what is known of the open image.

import type { BlockDriverInfo } from '../../../common/block-info.js'
import { nodeSpecificInfo } from '../../../io/node-info.js'
import { formatFacts, virtualSize } from '../../image-data.js'
import { specificInfoText } from '../../specific-info.js'
import type { IoCommand } from '../command.js'
import { sizeText } from '../report.js'

export const lengthCommand: IoCommand = {
  name: 'length',
  alias: 'l',
  minWords: 0,
  maxWords: 0,
  summary: 'gets the length of the current file',
  run(shell) {
    shell.host.out(`${sizeText(virtualSize(shell.opened))}\n`)
    return true
  },
}

export const infoCommand: IoCommand = {
  name: 'info',
  alias: 'i',
  minWords: 0,
  maxWords: 0,
  summary: 'prints information about the current file',
  async run(shell) {
    const { node } = shell.opened
    const { host } = shell
    const name = `format name: ${node.driver.name}\n`
    host.out(node.driver.kind === 'protocol' ? name + name : name)
    let info: BlockDriverInfo
    try {
      info = await formatFacts(node)
    } catch {
      // A driver without such facts is told by the exit code alone.
      return false
    }
    host.out(`cluster size: ${sizeText(info.clusterSize)}\nvm state offset: ${sizeText(info.vmStateOffset)}\n`)
    const facts = await nodeSpecificInfo(node)
    if (facts !== undefined) host.out(specificInfoText(facts))
    return true
  },
}
