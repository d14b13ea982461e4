import { expect, test } from 'vitest'
import { BackendChannel } from '../../../../src/exports/vhost-user/backend-channel.js'
import { loadHostIpc } from '../../../../src/platform/native/host-ipc.js'
import { BackendMessages } from '../../../support/vhost-user/backend-messages.js'
import { leavesNothingOpen } from '../../../support/vhost-user/served-disk.js'

const ipc = await loadHostIpc()

test('messages arrive, and their answers are taken', () =>
  leavesNothingOpen(async () => {
    const [ours, theirs] = ipc.socketPair()
    const channel = new BackendChannel(ipc, theirs, true)
    const front = new BackendMessages(ipc, ours)
    channel.configChanged()
    channel.ringUsed(3)
    channel.ringBroken(1)
    expect(await front.next()).toBe('CONFIG_CHANGE_MSG')
    expect(await front.next()).toBe('VRING_CALL 3')
    expect(await front.next()).toBe('VRING_ERR 1')
    channel.close()
    channel.configChanged()
    expect(await front.next()).toBeUndefined()
    front.close()
  }))

test('a front-end that does not read is not waited for; what it missed is said once', () =>
  leavesNothingOpen(async () => {
    const [ours, theirs] = ipc.socketPair()
    // Leaves room for nothing.
    while (ipc.send(theirs, new Uint8Array(12), []) !== undefined) {
      // Until it is full.
    }
    const channel = new BackendChannel(ipc, theirs, false)
    for (let i = 0; i < 1000; i++) channel.ringUsed(2)
    for (let i = 0; i < 1000; i++) channel.configChanged()
    const filler = new Uint8Array(12 * 64)
    let got = ''
    for (;;) {
      const count = ipc.receive(ours, filler, [])
      if (count === undefined) {
        if (got.length >= 2) break
        await new Promise((resolve) => setTimeout(resolve, 1))
        continue
      }
      for (let at = 0; at < (count as number); ) {
        const request = filler[at] as number
        if (request !== 0) got += String(request)
        // A message about a ring has a payload of 8 bytes.
        at += request === 4 ? 20 : 12
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(ipc.receive(ours, filler, [])).toBeUndefined()
    expect(got).toBe('42')
    channel.close()
    ipc.close(ours)
  }))

test('a front-end that closes its end is no trouble', () =>
  leavesNothingOpen(async () => {
    const [ours, theirs] = ipc.socketPair()
    const channel = new BackendChannel(ipc, theirs, false)
    ipc.close(ours)
    channel.configChanged()
    channel.ringUsed(0)
    await new Promise((resolve) => setTimeout(resolve, 5))
    channel.close()
  }))

test('what is no socket is refused', () =>
  leavesNothingOpen(async () => {
    const memory = ipc.createMemory('x', 4096)
    expect(() => new BackendChannel(ipc, memory, false)).toThrow(/not permitted/)
    ipc.close(memory)
  }))
