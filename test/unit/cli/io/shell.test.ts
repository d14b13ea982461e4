import { describe, expect, test } from 'vitest'
import { AioRequests } from '../../../../src/cli/io/aio.js'
import { findCommand, usageLine } from '../../../../src/cli/io/command.js'
import { COMMANDS } from '../../../../src/cli/io/commands.js'
import { linesOf } from '../../../../src/cli/io/host.js'
import { defaultImageFlags, openForCommands } from '../../../../src/cli/io/image-flags.js'
import { main } from '../../../../src/cli/io/main.js'
import type { Shell } from '../../../../src/cli/io/shell.js'
import { recordingHost } from './recording-host.js'
import { withShell } from './with-shell.js'

const MEMORY = { driver: 'memory', size: 1048576 }

const openMemory = (shell: Shell) => openForCommands(shell, defaultImageFlags(), undefined, MEMORY)

describe('the table of commands', () => {
  test('is sorted, and no two commands answer to one name', () => {
    const names = COMMANDS.map(({ name }) => name)
    expect(names).toEqual([...names].sort())
    const all = COMMANDS.flatMap(({ name, alias }) => (alias === undefined ? [name] : [name, alias]))
    expect(new Set(all).size).toBe(all.length)
    expect(findCommand(COMMANDS, 'r')?.name).toBe('read')
    expect(findCommand(COMMANDS, 'rea')).toBeUndefined()
  })

  test('help ends with a line feed and fits a terminal', () => {
    for (const command of COMMANDS) {
      expect(usageLine(command)).toContain(`${command.name}`)
      if (command.help === undefined) continue
      expect(command.help.endsWith('\n')).toBe(true)
      expect(command.help.split('\n').filter((line) => line.length > 120)).toEqual([])
    }
  })
})

describe('a command line', () => {
  test('is split at spaces, looked up and counted', async () => {
    await withShell(async (shell, host) => {
      for (const line of ['', '   ', ' foo', 'length', 'sleep', 'help a b']) await shell.execute(line)
      expect(host.stdout).toBe('')
      expect(host.stderr.split('\n')).toEqual([
        'command "foo" not found',
        "no file open, try 'help open'",
        'bad argument count 0 to sleep, expected 1 arguments',
        'bad argument count 2 to help, expected between 0 and 1 arguments',
        '',
      ])
      expect(shell.failed).toBe(true)
    })
  })

  test('cannot drive the terminal', async () => {
    await withShell(async (shell, host) => {
      await shell.execute('\x1b[31m')
      await shell.execute('sigraise \x07')
      expect(host.stderr + host.stdout).not.toContain('\x1b')
      expect(host.stdout).toContain('\\x07')
    })
  })

  test('reads and writes the open image', async () => {
    await withShell(async (shell, host) => {
      await openMemory(shell)
      for (const line of ['write -qP 1 0 1k', 'read -qP 1 0 1k', 'aio_write -qP 2 512 512', 'aio_flush']) {
        await shell.execute(line)
      }
      expect(shell.failed).toBe(false)
      await shell.execute('read -qP 1 0 1k')
      expect(host.stdout).toBe('Pattern verification failed at offset 0, 1024 bytes\n')
      await shell.execute('close')
      await shell.execute('length')
      expect(host.stderr).toBe("no file open, try 'help open'\n")
    })
  })

  test('counts requests said to be invalid', async () => {
    await withShell(async (shell, host) => {
      await openMemory(shell)
      await shell.execute('aio_read -i 0 512')
      await shell.execute('aio_write -iP x')
      await shell.execute('aio_write -iP x y')
      expect(shell.opened.backend.accounting.read.invalid).toBe(1)
      expect(shell.opened.backend.accounting.write.invalid).toBe(2)
      expect(host.stdout.split('\n')).toEqual([
        'injecting invalid read request',
        'injecting invalid write request',
        'injecting invalid write request',
        '',
      ])
    })
  })

  test('ends the tool, or what a signal or a crash makes of it', async () => {
    await withShell(async (shell, host) => {
      for (const line of ['sigraise 15', 'abort', 'quit']) await shell.execute(line)
      expect(host.raised).toEqual([15, 6])
      expect(shell.ended).toBe(true)
      expect(shell.failed).toBe(false)
    })
  })

  test('misaligned buffers hold the same', async () => {
    await withShell(
      async (shell) => {
        await openMemory(shell)
        expect(shell.buffer(100, 7).byteOffset).toBe(16)
        await shell.execute('write -qP 3 5 1000')
        await shell.execute('read -qP 3 5 1000')
        expect(shell.failed).toBe(false)
      },
      { misaligned: true },
    )
  })
})

test('requests under way are told of when the tool waits', async () => {
  const aio = new AioRequests()
  const told: string[] = []
  let end = () => {}
  aio.start(() => new Promise((resolve) => (end = () => resolve(() => told.push('late')))))
  aio.start(async () => () => told.push('early'))
  expect(aio.count).toBe(2)
  await aio.next()
  expect(told).toEqual(['early'])
  const flushed = aio.flush()
  end()
  await flushed
  expect(told).toEqual(['early', 'late'])
  expect(aio.count).toBe(0)
})

test('lines come out of pieces', async () => {
  async function* pieces() {
    yield* ['ab', 'c\nd\n\n', 'e', '\u00e9'].map((text) => new TextEncoder().encode(text))
  }
  const lines: string[] = []
  for await (const line of linesOf(pieces())) lines.push(line)
  expect(lines).toEqual(['abc', 'd', '', 'eé'])
})

describe('the tool', () => {
  test('answers what it is asked and nothing more', async () => {
    const host = recordingHost('tool')
    expect(await main(['-V', '-Z'], host)).toBe(0)
    expect(host.stdout).toMatch(/^tool version \d+\.\d+\.\d+\n$/)
    expect(await main(['--help'], host)).toBe(0)
    expect(host.stdout).toContain('Usage: tool ')
    expect(host.stderr).toBe('')
  })

  test('runs lines until it is told to quit', async () => {
    const host = recordingHost('tool', 'length\nquit\nlength\n')
    expect(await main(['--image-opts', 'driver=memory,size=1M'], host)).toBe(0)
    expect(host.stdout).toBe('tool> 1 MiB\ntool> ')
  })

  test('tells of data that a close has lost, unless a command has failed already', async () => {
    const image =
      'driver=blkdebug,image.driver=memory,image.size=1M,inject-error.0.event=none,inject-error.0.iotype=flush'
    const run = async (...commands: string[]) => {
      const host = recordingHost('tool')
      const args = ['-t', 'writeback', '--image-opts', image, ...commands.flatMap((command) => ['-c', command])]
      return { code: await main(args, host), stderr: host.stderr }
    }
    expect(await run('length')).toEqual({ code: 0, stderr: '' })
    expect(await run('write -q 0 512')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^tool: .*flush|error/),
    })
    expect(await run('write -q 0 512', 'flush')).toEqual({ code: 1, stderr: '' })
  })
})
