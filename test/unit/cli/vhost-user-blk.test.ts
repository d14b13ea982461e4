import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { main } from '../../../src/cli/main.js'
import { vhostUserBlk } from '../../../src/cli/vhost-user-blk.js'
import { loadHostIpc } from '../../../src/platform/native/host-ipc.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import { BackendChild, LAUNCHER } from '../../support/vhost-user/backend-child.js'
import { FrontEnd } from '../../support/vhost-user/front-end.js'

let folder: string
let image: string
let socket: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhost-cli-'))
  image = join(folder, 'disk.img')
  socket = join(folder, 'socket')
  writeFileSync(image, '')
  truncateSync(image, 1 << 20)
})

afterEach(async () => {
  await BackendChild.endAll()
  rmSync(folder, { recursive: true, force: true })
})

/** Runs the tool to its end. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' }
  const tool = {
    name: 'blockgraph',
    out: (text: string) => {
      said.out += text
    },
    err: (text: string) => {
      said.err += text
    },
  }
  const code = await main(args, tool)
  return { code, ...said }
}

describe('the command line', () => {
  const bad: [string, string[], RegExp][] = [
    ['nothing', [], /Not enough arguments/],
    ['no such command', ['serve'], /Command not found: serve/],
    ['no such option', ['--nonsense'], /unrecognized option '--nonsense'/],
    ['no socket', ['vhost-user-blk', 'IMAGE'], /--socket is missing/],
    ['no image', ['vhost-user-blk', '-s', 'SOCKET'], /Expecting one image file name/],
    ['two images', ['vhost-user-blk', '-s', 'SOCKET', 'IMAGE', 'IMAGE'], /Expecting one image file name/],
    ['no queues', ['vhost-user-blk', '-s', 'SOCKET', '--num-queues', '0', 'IMAGE'], /--num-queues must be 1 to 64/],
    ['an odd queue size', ['vhost-user-blk', '-s', 'SOCKET', '--queue-size', '100', 'IMAGE'], /power of two/],
    [
      'a policy',
      ['vhost-user-blk', '-s', 'SOCKET', '--second', 'fight', 'IMAGE'],
      /--second must be one of wait, refuse/,
    ],
    ['a cache', ['vhost-user-blk', '-s', 'SOCKET', '-t', 'big', 'IMAGE'], /Invalid cache option: big/],
    ['a discard', ['vhost-user-blk', '-s', 'SOCKET', '-d', 'off', 'IMAGE'], /--discard must be one of unmap, ignore/],
    [
      'a format twice',
      ['vhost-user-blk', '-s', 'SOCKET', '-f', 'raw', '--image-opts', 'driver=raw'],
      /mutually exclusive/,
    ],
    [
      'no such image',
      ['vhost-user-blk', '-s', 'SOCKET', 'IMAGE.not'],
      /Could not open '.*': No such file or directory/,
    ],
    ['no such folder', ['vhost-user-blk', '-s', 'SOCKET/x', '-f', 'raw', 'IMAGE'], /Could not serve '.*disk.img' at/],
    ['a long path', ['vhost-user-blk', '-s', `SOCKET${'x'.repeat(120)}`, '-f', 'raw', 'IMAGE'], /1 to 107 bytes/],
  ]

  test.each(bad)('%s', async (_name, args, message) => {
    const result = await run(...args.map((arg) => arg.replace('IMAGE', image).replace('SOCKET', socket)))
    expect(result.err).toMatch(message)
    expect(result.code).toBe(1)
    expect(result.out).toBe('')
    expect(existsSync(socket)).toBe(false)
  })

  test('help, version, capabilities', async () => {
    for (const args of [['--help'], ['vhost-user-blk', '-h']]) {
      expect((await run(...args)).out).toMatch(/^usage: blockgraph/)
    }
    expect((await run('--version')).out).toMatch(/^blockgraph version /)
    const capabilities = await run('vhost-user-blk', '--print-capabilities')
    expect(JSON.parse(capabilities.out)).toEqual({ type: 'block', features: ['read-only', 'blk-file'] })
  })

  test('a socket that somebody listens on is left alone, one that is dead is replaced', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(socket, resolve))
    const refused = await run('vhost-user-blk', '-s', socket, '-f', 'raw', image)
    expect(refused.code).toBe(1)
    expect(refused.err).toMatch(/is in use by another process/)
    await new Promise((resolve) => other.close(resolve))
    const dead = await BackendChild.start(['-s', socket, '-f', 'raw', image])
    await dead.end('SIGKILL')
    expect(existsSync(socket)).toBe(true)
    const next = await BackendChild.start(['-s', socket, '-f', 'raw', image])
    expect(await next.end('SIGINT')).toBe(0)
  })

  test('what is no socket is never removed', async () => {
    const result = await run('vhost-user-blk', '-s', image, '-f', 'raw', image)
    expect(result.err).toMatch(/Address already in use/)
    expect(existsSync(image)).toBe(true)
  })
})

describe('serving', () => {
  test.each(['raw', 'file'])('a file as %s: the default way to the host is one that both take', async (format) => {
    const child = await BackendChild.start(['-s', socket, '-f', format, image])
    expect(child.said).toBe(`serving '${image}' at ${socket}\n`)
    expect(await child.end('SIGTERM')).toBe(0)
  })

  test.each([
    ['read-write', [], 0n],
    ['read-only', ['-r'], 1n << 5n],
  ])('%s, by a list of options', async (_name, flags, readOnly) => {
    const said: string[] = []
    const tool = { name: 'blockgraph', out: (text: string) => said.push(text), err: (text: string) => said.push(text) }
    let end: () => void = () => {}
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    const options = `driver=raw,file.driver=file,file.filename=${image}`
    const args = ['-s', socket, ...flags, '--num-queues=3', '--image-opts', options]
    const code = vhostUserBlk(tool, args, () => ended)
    while (said.length === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(said).toEqual([`serving '${options}' at ${socket}\n`])
    const front = FrontEnd.connect(await loadHostIpc(), socket)
    expect((await front.askNumber(m.VHOST_USER_GET_FEATURES)) & (1n << 5n)).toBe(readOnly)
    expect(await front.askNumber(m.VHOST_USER_GET_QUEUE_NUM)).toBe(3n)
    end()
    expect(await code).toBe(0)
    expect(existsSync(socket)).toBe(false)
    front.close()
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it, with a front-end connected', async (signal) => {
    const child = await BackendChild.start(['-s', socket, '-f', 'raw', '-v', image])
    const front = FrontEnd.connect(await loadHostIpc(), socket)
    await front.askNumber(m.VHOST_USER_GET_FEATURES)
    expect(await child.end(signal)).toBe(0)
    expect(child.said).toBe(
      `serving '${image}' at ${socket}\nblockgraph: front-end connected\n` +
        'blockgraph: GET_FEATURES: 0 bytes, 0 descriptors\nblockgraph: front-end gone\n',
    )
    expect(existsSync(socket)).toBe(false)
    front.close()
  })

  test('without native calls it says what is missing', () => {
    const env = { ...process.env, BLOCKGRAPH_NATIVE: 'off' }
    const args = [LAUNCHER, 'vhost-user-blk', '-s', socket, '-f', 'raw', image]
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/native calls are needed, and there are none here\nInstall the package koffi/)
  })
})
