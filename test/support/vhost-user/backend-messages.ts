// The channel on which a back-end speaks to its front-end: reads its messages, and answers those that ask for it.

import type { HostIpc } from '../../../src/common/host-ipc.js'
import { MessageSocket } from '../../../src/exports/vhost-user/message-socket.js'
import { encodeMessage } from '../../../src/protocols/vhost-user/header.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import { decodeVringState, encodeU64 } from '../../../src/protocols/vhost-user/payloads.js'

/** The front-end's end of the channel. */
export class BackendMessages {
  private readonly socket: MessageSocket

  constructor(ipc: HostIpc, fd: number) {
    this.socket = new MessageSocket(ipc, fd)
  }

  /** The next message in words; undefined at the end. */
  async next(): Promise<string | undefined> {
    const message = await this.socket.next()
    if (message === undefined) return undefined
    const { header, payload, descriptors } = message
    descriptors.close()
    if (header.needReply) await this.socket.send(encodeMessage(header.request, encodeU64(0), { reply: true }))
    if (header.request === m.VHOST_USER_BACKEND_CONFIG_CHANGE_MSG) return 'CONFIG_CHANGE_MSG'
    const { index } = decodeVringState(payload)
    return header.request === m.VHOST_USER_BACKEND_VRING_CALL ? `VRING_CALL ${index}` : `VRING_ERR ${index}`
  }

  close(): void {
    this.socket.close()
  }
}
