// struct msghdr with one buffer and a control message of descriptors (recvmsg(2), cmsg(3)), in 64-bit Linux layout. One is
// made for a process and filled anew for each call.

import type { IpcLibc } from './ipc-libc.js'

/** Most descriptors of one message (the kernel's SCM_MAX_FD): with room for all of them none is ever cut off. */
export const SCM_MAX_FD = 253

const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const CONTROL_HEAD_BYTES = 16
const MESSAGE_BYTES = 56
const TWO_32 = 0x1_0000_0000

/** The structures of one call. */
export interface MessageHead {
  readonly message: Uint8Array
  /** The buffer, and room for so many descriptors. */
  describe(buffer: Uint8Array, descriptors: number): void
  putDescriptors(descriptors: readonly number[]): void
  /** Appends what came. */
  takeDescriptors(descriptors: number[]): void
  /** What recvmsg said. */
  flags(): number
}

/** Makes the structures. */
export function createMessageHead(libc: Pick<IpcLibc, 'address'>): MessageHead {
  const control = new Uint8Array(CONTROL_HEAD_BYTES + 4 * SCM_MAX_FD + 4)
  const controlView = new DataView(control.buffer)
  const iovec = new Uint8Array(16)
  const message = new Uint8Array(MESSAGE_BYTES)
  const view = new DataView(message.buffer)
  const iovecView = new DataView(iovec.buffer)
  const controlAddress = libc.address(control)
  // name and its length, iovec at 16, count at 24, control at 32, its length at 40, flags at 48.
  setAddress(view, 16, libc.address(iovec))
  setAddress(view, 24, 1)

  function setControl(bytes: number): void {
    setAddress(view, 32, bytes === 0 ? 0 : controlAddress)
    setAddress(view, 40, bytes)
  }

  return {
    message,
    describe(buffer, descriptors) {
      setAddress(iovecView, 0, libc.address(buffer))
      setAddress(iovecView, 8, buffer.byteLength)
      setControl(descriptors === 0 ? 0 : control.byteLength)
      view.setUint32(48, 0, true)
    },
    putDescriptors(descriptors) {
      if (descriptors.length === 0) return
      const bytes = CONTROL_HEAD_BYTES + 4 * descriptors.length
      setAddress(controlView, 0, bytes)
      controlView.setInt32(8, SOL_SOCKET, true)
      controlView.setInt32(12, SCM_RIGHTS, true)
      descriptors.forEach((fd, index) => {
        controlView.setInt32(CONTROL_HEAD_BYTES + 4 * index, fd, true)
      })
      setControl(CONTROL_HEAD_BYTES + Math.ceil((4 * descriptors.length) / 8) * 8)
    },
    takeDescriptors(descriptors) {
      const end = view.getUint32(40, true)
      let at = 0
      while (at + CONTROL_HEAD_BYTES <= end) {
        const bytes = controlView.getUint32(at, true)
        if (bytes < CONTROL_HEAD_BYTES) return
        const rights =
          controlView.getInt32(at + 8, true) === SOL_SOCKET && controlView.getInt32(at + 12, true) === SCM_RIGHTS
        if (rights) {
          for (let i = at + CONTROL_HEAD_BYTES; i + 4 <= at + bytes; i += 4)
            descriptors.push(controlView.getInt32(i, true))
        }
        at += Math.ceil(bytes / 8) * 8
      }
    },
    flags: () => view.getUint32(48, true),
  }
}

function setAddress(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setUint32(at + 4, Math.floor(value / TWO_32), true)
}
