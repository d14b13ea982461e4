import { describe, expect, test } from 'vitest'
import { bannedViolations } from './banned-rules.js'
import { filesUnder, report, virtualFile } from './source-files.js'

describe('what is banned', () => {
  test('stands nowhere in src', () => {
    expect(report(filesUnder('src').flatMap(bannedViolations))).toEqual([])
  })
})

describe('planted violations', () => {
  const planted: [string, string, RegExp][] = [
    ['src/io/read.ts', 'await Promise.all(parts)', /Promise\.all/],
    ['src/drivers/file/pool.ts', 'await Promise.race([a, b])', /Promise\.race/],
    ['src/exports/nbd/server.ts', 'const first = Promise.any', /Promise\.any/],
    ['src/devices/virtio/queue.ts', 'void request()', /thrown away/],
    ['src/cli/img/info.ts', 'async function f() { using quiet = await g() }', /using/],
    ['src/cli/img/info.ts', 'async function f() { await using disk = await g() }', /using/],
    ['src/protocols/nbd/reply.ts', 'enum Reply { Ack }', /enum/],
    ['src/protocols/nbd/reply.ts', 'const enum Reply { Ack }', /enum/],
    ['src/io/read.ts', 'let a = b as any', /any/],
    ['src/cli/img/info.ts', 'function f(a: any) {}', /any/],
    ['src/drivers/raw.ts', 'const b = Buffer.alloc(1)', /Buffer/],
    ['src/testing/x.ts', 'if (process.env.CI) f()', /process/],
    ['src/io/drained.ts', 'setTimeout(f, 1)', /setTimeout/],
    ['src/jobs/job.ts', 'const at = performance.now()', /performance/],
    ['src/testing/x.ts', 'const n = Math.random()', /Math\.random/],
    ['src/drivers/raw.ts', 'const n = Date.now()', /Date\.now/],
    ['src/drivers/raw.ts', 'const n = new Date()', /new Date/],
    ['src/io/read.ts', 'const n = 1n', /bigint/],
    ['src/io/read.ts', 'let n: bigint', /bigint/],
    ['src/io/read.ts', '// TO' + 'DO later', /word: TO/],
    ['src/io/read.ts', '// FIX' + 'ME later', /word: FIX/],
    ['src/cli/x.ts', '// @ts-' + 'ignore', /@ts-ignore/],
  ]

  test.each(planted)('in %s: %s', (path, text, message) => {
    const found = report(bannedViolations(virtualFile(path, text)))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(message)
  })

  test.each([
    ['src/global-state/drain-all.ts', 'await Promise.allSettled(parts)'],
    ['src/io/read.ts', 'const { Buffer: other } = a; const o = { process: 1 }; o.process'],
    ['src/common/clock.ts', 'setTimeout(f, 1)'],
    ['src/drivers/file/pool.ts', 'const b = Buffer.alloc(1)'],
    ['src/devices/virtio/features.ts', 'const VERSION_1 = 1n << 32n'],
    ['src/io/read.ts', 'interface Clock { setTimeout(): void; any: string }'],
  ])('not in %s: %s', (path, text) => {
    expect(report(bannedViolations(virtualFile(path, text)))).toEqual([])
  })
})
