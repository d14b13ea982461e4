import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { IoVector } from '../../../src/common/io-vector.js'
import { READ_UNSUPPORTED } from '../../../src/platform/native/cached-transfer.js'
import { loadNativeFileCalls } from '../../../src/platform/native/file-calls.js'

const native = await loadNativeFileCalls()

describe.skipIf(native === undefined)('native calls', () => {
  it('report errors of the host by code', async () => {
    await expect(native?.space.punchHole(-1, 0, 4096)).rejects.toMatchObject({ code: 'EBADF' })
    expect(() => native?.space.seekData(-1, 0)).toThrow('lseek: Bad file descriptor')
    expect(() => native?.locks.lockShared(-1, 100)).toThrow('Bad file descriptor')
    expect(native?.readCached(-1, new Uint8Array(8), 0)).toBe(READ_UNSUPPORTED)
  })

  it('read at the end of a file and beyond it', () => {
    const path = join(tmpdir(), `native-read-${process.pid}`)
    writeFileSync(path, 'abc')
    const fd = openSync(path, 'r')
    const into = new Uint8Array(8)
    expect(native?.readCached(fd, into, 1)).toBe(2)
    expect([...into.subarray(0, 3)]).toEqual([98, 99, 0])
    expect(native?.readCached(fd, into, 2 ** 40)).toBe(0)
    closeSync(fd)
    rmSync(path)
  })

  it('write from many segments, and leave errors to others', () => {
    const path = join(tmpdir(), `native-write-${process.pid}`)
    writeFileSync(path, 'abcdef')
    const fd = openSync(path, 'r+')
    const data = new IoVector([new Uint8Array([0x31]), new Uint8Array([0x32, 0x33])])
    expect(native?.writeCached(fd, data, 2)).toBe(3)
    expect(native?.writeCached(fd, new Uint8Array([0x34]), 7)).toBe(1)
    expect(readFileSync(path, 'latin1')).toBe('ab123f\u00004')
    closeSync(fd)
    const readOnly = openSync(path, 'r')
    expect(native?.writeCached(readOnly, data, 0)).toBe(0)
    closeSync(readOnly)
    rmSync(path)
  })
})

describe('the switch for native calls', () => {
  it('turns them off for a whole process', () => {
    const loader = fileURLToPath(new URL('../../../src/platform/native/libc.ts', import.meta.url))
    const vite = fileURLToPath(new URL('../../../node_modules/vite/dist/node/index.js', import.meta.url))
    const script = `
      const { runnerImport } = await import(${JSON.stringify(vite)})
      const { module } = await runnerImport(${JSON.stringify(loader)})
      console.log((await module.loadLibc()) === undefined ? 'absent' : 'present')`
    const env = { ...process.env, BLOCKGRAPH_NATIVE: 'off' }
    expect(execFileSync(process.execPath, ['--input-type=module', '-e', script], { env, encoding: 'utf8' })).toBe(
      'absent\n',
    )
  })
})
