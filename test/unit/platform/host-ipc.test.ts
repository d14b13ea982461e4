import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  readvSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GiB } from '../../../src/common/units.js'
import { loadHostIpc } from '../../../src/platform/native/host-ipc.js'
import { codeOf } from '../../support/code-of.js'
import { openFiles } from '../../support/vhost-user/open-files.js'

const ipc = await loadHostIpc()
let folder: string
let fds: number[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'host-ipc-'))
  fds = []
})

afterEach(() => {
  for (const fd of fds) ipc.close(fd)
  rmSync(folder, { recursive: true, force: true })
})

function own(fd: number): number {
  fds.push(fd)
  return fd
}

function pair(): [number, number] {
  const [a, b] = ipc.socketPair()
  return [own(a), own(b)]
}

describe('sockets', () => {
  test('carry bytes and descriptors', () => {
    const [a, b] = pair()
    const file = join(folder, 'file')
    writeFileSync(file, 'contents')
    const fd = own(openSync(file, 'r'))
    expect(ipc.send(a, new Uint8Array([1, 2, 3]), [fd, fd])).toBe(3)
    const got: number[] = []
    const into = new Uint8Array(2)
    expect(ipc.receive(b, into, got)).toBe(2)
    expect([...into]).toEqual([1, 2])
    expect(got).toHaveLength(2)
    expect(ipc.receive(b, into, got)).toBe(1)
    expect(got).toHaveLength(2)
    const text = Buffer.alloc(8)
    for (const each of got) {
      expect(readSync(own(each), text, 0, 8, 0)).toBe(8)
      expect(text.toString()).toBe('contents')
    }
    expect(ipc.receive(b, into, got)).toBeUndefined()
  })

  test('descriptors of one write never come with another', () => {
    const [a, b] = pair()
    const event = own(ipc.createEvent())
    ipc.send(a, new Uint8Array(4), [])
    ipc.send(a, new Uint8Array(4), [event])
    ipc.send(a, new Uint8Array(4), [event, event])
    const counts: number[] = []
    for (let i = 0; i < 3; i++) {
      const got: number[] = []
      expect(ipc.receive(b, new Uint8Array(4), got)).toBe(4)
      counts.push(got.length)
      for (const fd of got) own(fd)
    }
    expect(counts).toEqual([0, 1, 2])
  })

  test('as many descriptors as the kernel lets through', async () => {
    const [a, b] = pair()
    const event = own(ipc.createEvent())
    expect(
      ipc.send(
        a,
        new Uint8Array(1),
        Array.from({ length: 253 }, () => event),
      ),
    ).toBe(1)
    const got: number[] = []
    ipc.receive(b, new Uint8Array(1), got)
    expect(got).toHaveLength(253)
    for (const fd of got) own(fd)
  })

  test('say when they are full, and when the other end is gone', async () => {
    const [a, b] = ipc.socketPair()
    own(a)
    const block = new Uint8Array(65536)
    let sent: number | undefined = 0
    for (let i = 0; i < 1000 && sent !== undefined; i++) sent = ipc.send(a, block, [])
    expect(sent).toBeUndefined()
    ipc.close(b)
    expect(await codeOf(() => ipc.send(a, block, []))).toBe('EPIPE')
    const [c, d] = ipc.socketPair()
    own(c)
    ipc.close(d)
    expect(ipc.receive(c, new Uint8Array(1), [])).toBe(0)
  })

  test('listen, connect, accept', async () => {
    const path = join(folder, 'socket')
    expect(await codeOf(() => ipc.connect(path))).toBe('ENOENT')
    const listener = own(ipc.listen(path))
    expect(ipc.accept(listener)).toBeUndefined()
    const client = own(ipc.connect(path))
    const server = own(ipc.accept(listener) as number)
    ipc.send(client, new Uint8Array([7]), [])
    const into = new Uint8Array(1)
    ipc.receive(server, into, [])
    expect(into[0]).toBe(7)
    expect(await codeOf(() => ipc.listen(path))).toBe('EADDRINUSE')
    expect(await codeOf(() => ipc.listen(join(folder, 'x'.repeat(200))))).toBe('ENAMETOOLONG')
    expect(await codeOf(() => ipc.listen(join(folder, 'not', 'there')))).toBe('ENOENT')
    const file = join(folder, 'file')
    writeFileSync(file, 'kept')
    expect(await codeOf(() => ipc.listen(file))).toBe('EADDRINUSE')
    expect(existsSync(file)).toBe(true)
  })

  test('a socket that nobody listens on any more is replaced', () => {
    const path = join(folder, 'socket')
    ipc.close(ipc.listen(path))
    expect(existsSync(path)).toBe(true)
    own(ipc.listen(path))
    own(ipc.connect(path))
  })
})

describe('memory', () => {
  test('is shared, sealed, and read into directly', async () => {
    const fd = own(ipc.createMemory('test', 8192))
    expect(ipc.describe(fd)).toMatchObject({ size: 8192, isFile: true, cannotShrink: true })
    expect(() => ftruncateSync(fd, 0)).toThrow()
    const one = ipc.map(fd, 0, 8192)
    const two = ipc.map(fd, 4100, 100)
    const view = new Uint8Array(one.view(0, 8192))
    const other = new Uint8Array(two.view(0, 100))
    view[4100] = 9
    expect(other[0]).toBe(9)
    other[1] = 8
    expect(view[4101]).toBe(8)
    const file = join(folder, 'file')
    writeFileSync(file, Buffer.from('read into memory'))
    const source = own(openSync(file, 'r'))
    readSync(source, view, 0, 4, 0)
    readvSync(source, [view.subarray(100, 105), view.subarray(200, 207)], 4)
    expect(Buffer.from(view.subarray(0, 4)).toString()).toBe('read')
    expect(Buffer.from(view.subarray(200, 207)).toString()).toBe(' memory')
    one.unmap()
    two.unmap()
  })

  test('a view that is left reads and writes memory that belongs to nobody', () => {
    const fd = own(ipc.createMemory('test', 4096))
    const mapping = ipc.map(fd, 0, 4096)
    const view = new Uint8Array(mapping.view(0, 4096))
    view[5] = 1
    mapping.unmap()
    mapping.unmap()
    expect(view[5]).toBe(0)
    view[5] = 2
    const bytes = Buffer.alloc(8)
    readSync(fd, bytes, 0, 8, 0)
    expect(bytes[5]).toBe(1)
    expect(openFiles().filter((each) => each.includes('memfd:test'))).toHaveLength(1)
  })

  test('beyond 4 GiB, in pieces', () => {
    const fd = own(ipc.createMemory('large', 6 * GiB))
    const mapping = ipc.map(fd, GiB, 5 * GiB)
    const last = new Uint8Array(mapping.view(4 * GiB, GiB))
    last[GiB - 1] = 3
    const byte = Buffer.alloc(1)
    readSync(fd, byte, 0, 1, 6 * GiB - 1)
    expect(byte[0]).toBe(3)
    mapping.unmap()
  })

  test('a file that anybody can cut says so', () => {
    const file = join(folder, 'file')
    const fd = own(openSync(file, 'w+'))
    ftruncateSync(fd, 100)
    expect(ipc.describe(fd)).toMatchObject({ size: 100, isFile: true, cannotShrink: false })
    expect(ipc.describe(own(ipc.createEvent())).isFile).toBe(false)
  })
})

describe('events and waiting', () => {
  test('a handler is called when there is something, until it is closed', async () => {
    const event = own(ipc.createEvent())
    let calls = 0
    const watch = ipc.watch(event, 'readable', () => {
      calls++
      expect(ipc.takeSignals(event)).toBe(true)
    })
    ipc.signal(event)
    ipc.signal(event)
    await sleep(10)
    expect(calls).toBe(1)
    ipc.signal(event)
    await sleep(10)
    expect(calls).toBe(2)
    ipc.signal(event)
    watch.close()
    watch.close()
    await sleep(10)
    expect(calls).toBe(2)
    expect(ipc.takeSignals(event)).toBe(true)
    expect(ipc.takeSignals(event)).toBe(false)
  })

  test('promises of a handler are attended to', async () => {
    const event = own(ipc.createEvent())
    const order: string[] = []
    await new Promise<void>((resolve) => {
      const watch = ipc.watch(event, 'readable', () => {
        watch.close()
        Promise.resolve()
          .then(() => order.push('promise'))
          .then(() => resolve())
      })
      ipc.signal(event)
    })
    expect(order).toEqual(['promise'])
  })

  test('room to write is waited for', async () => {
    const [a, b] = pair()
    while (ipc.send(a, new Uint8Array(65536), []) !== undefined) {
      // Until it is full.
    }
    let ready = false
    const watch = ipc.watch(a, 'writable', () => {
      ready = true
    })
    await sleep(5)
    expect(ready).toBe(false)
    while (ipc.receive(b, new Uint8Array(65536), []) !== undefined) {
      // Until it is empty.
    }
    await sleep(5)
    expect(ready).toBe(true)
    watch.close()
  })

  test('nobody can wait for a file, and not twice for one descriptor', async () => {
    const file = join(folder, 'file')
    const fd = openSync(file, 'w')
    expect(await codeOf(() => ipc.watch(fd, 'readable', () => {}))).toBe('EPERM')
    closeSync(fd)
    expect(await codeOf(() => ipc.watch(9999, 'readable', () => {}))).toBe('EBADF')
    const event = own(ipc.createEvent())
    const watch = ipc.watch(event, 'readable', () => {})
    expect(() => ipc.watch(event, 'readable', () => {})).toThrow(/being waited for/)
    watch.close()
    ipc.watch(event, 'readable', () => {}).close()
  })

  test('the end of a pipe is an error, not a signal without end', async () => {
    const [a, b] = ipc.socketPair()
    own(a)
    ipc.close(b)
    expect(await codeOf(() => ipc.takeSignals(a))).toBe('EPIPE')
    expect(await codeOf(() => ipc.signal(a))).toBe('EPIPE')
    expect(await codeOf(() => ipc.setNonBlocking(9999))).toBe('EBADF')
  })
})
