import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { main } from '../../../src/cli/main.js'
import type { Tool } from '../../../src/cli/tool.js'
import { vhostUserScsi } from '../../../src/cli/vhost-user-scsi.js'
import { loadHostIpc } from '../../../src/platform/native/host-ipc.js'
import * as m from '../../../src/protocols/vhost-user/messages.js'
import { FrontEnd } from '../../support/vhost-user/front-end.js'

let folder: string
let socket: string
let images: [string, string]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhost-scsi-cli-'))
  socket = join(folder, 'socket')
  images = [join(folder, 'a.img'), join(folder, 'b.img')]
  for (const image of images) {
    writeFileSync(image, '')
    truncateSync(image, 2 ** 20)
  }
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

function recorder(): Tool & { said: string } {
  const tool = {
    name: 'blockgraph',
    said: '',
    out: (text: string) => {
      tool.said += text
    },
    err: (text: string) => {
      tool.said += text
    },
  }
  return tool
}

describe('the command line', () => {
  const bad: [string, string[], RegExp][] = [
    ['no socket', ['A'], /vhost-user-scsi: --socket is missing/],
    ['no image', ['-s', 'SOCKET'], /Expecting at least one image file name/],
    [
      'serial numbers of nothing',
      ['-s', 'SOCKET', '--serial', 'a', '--serial', 'b', 'A'],
      /more serial numbers than images/,
    ],
    [
      'a serial number that is too long',
      ['-s', 'SOCKET', '--serial', 'x'.repeat(37), '-f', 'raw', 'A'],
      /up to 36 characters/,
    ],
    ['no such image', ['-s', 'SOCKET', '-f', 'raw', 'A', 'B.not'], /Could not open '.*b.img.not': No such file/],
  ]

  test.each(bad)('%s', async (_name, args, message) => {
    const tool = recorder()
    const words = args.map((arg) => arg.replace('SOCKET', socket).replace(/^A/, images[0]).replace(/^B/, images[1]))
    expect(await main(['vhost-user-scsi', ...words], tool)).toBe(1)
    expect(tool.said).toMatch(message)
    expect(existsSync(socket)).toBe(false)
  })

  test('capabilities', async () => {
    const tool = recorder()
    expect(await main(['vhost-user-scsi', '--print-capabilities'], tool)).toBe(0)
    expect(JSON.parse(tool.said)).toEqual({ type: 'scsi', features: [] })
  })
})

test('it serves all images until it is told to end', async () => {
  const tool = recorder()
  let end: () => void = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const code = vhostUserScsi(tool, ['-s', socket, '--num-queues=4', '--targets', '-f', 'raw', ...images], () => ended)
  while (tool.said === '') await new Promise((resolve) => setImmediate(resolve))
  expect(tool.said).toBe(`serving '${images[0]}', '${images[1]}' at ${socket}\n`)
  const front = FrontEnd.connect(await loadHostIpc(), socket)
  expect(await front.askNumber(m.VHOST_USER_GET_QUEUE_NUM)).toBe(6n)
  end()
  expect(await code).toBe(0)
  expect(existsSync(socket)).toBe(false)
  front.close()
})
