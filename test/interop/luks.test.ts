// Encrypted images between us and the real tools: each opens what the other made, by the same passwords, to the same data.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { main } from '../../src/cli/img/main.js'
import { type PeerRun, peer } from '../support/peers.js'

const SIZE = 256 * 1024
const SECRETS = ['--object', 'secret,id=s0,data=open sesame', '--object', 'secret,id=s1,data=open barley']
let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'blockgraph-luks-'))
  writeFileSync(join(folder, 'plain'), sample())
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Bytes that differ in every sector. */
function sample(): Uint8Array {
  return Uint8Array.from({ length: SIZE }, (_, index) => (index >> 9) * 3 + index * 7)
}

async function ours(...args: string[]): Promise<PeerRun> {
  let [stdout, stderr] = ['', '']
  const home = process.cwd()
  process.chdir(folder)
  try {
    const status = await main(args, {
      name: 'qemu-img',
      out: (text) => {
        stdout += text
      },
      err: (text) => {
        stderr += text
      },
    })
    return { status, stdout, stderr }
  } finally {
    process.chdir(home)
  }
}

async function oursDoes(...args: string[]): Promise<void> {
  expect(await ours(...args)).toMatchObject({ status: 0, stderr: '' })
}

function theirs(...args: string[]): PeerRun {
  return peer('qemu-img').run(args, { cwd: folder })
}

/** Creation by the real tool takes its time by counting, and now and then loses count. */
function theirsDoes(...args: string[]): void {
  for (let tries = 0; ; tries += 1) {
    const run = theirs(...args)
    if (tries < 8 && run.stderr.includes('Unable to get accurate CPU usage')) continue
    expect(run).toMatchObject({ status: 0, stderr: '' })
    return
  }
}

const content = (name: string): Buffer => readFileSync(join(folder, name))
const luks = (name: string, secret = 's0'): string => `driver=luks,key-secret=${secret},file.filename=${name}`
const qcow2 = (name: string, more = ''): string => `driver=qcow2,encrypt.key-secret=s0,file.filename=${name}${more}`

describe('volumes', () => {
  const ciphers = [
    'cipher-alg=aes-256,cipher-mode=xts',
    'cipher-alg=aes-128,cipher-mode=xts,hash-alg=sha1',
    'cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=essiv,hash-alg=sha512',
    'cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256',
    'cipher-alg=aes-128,cipher-mode=cbc,hash-alg=sha512',
    'cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain,hash-alg=ripemd160',
    'cipher-alg=aes-256,cipher-mode=ecb',
  ]

  test.each(ciphers)('we make with %s are read and written there', async (cipher) => {
    const options = `key-secret=s0,iter-time=0,${cipher}`
    await oursDoes('convert', ...SECRETS, '-f', 'raw', '-O', 'luks', '-o', options, 'plain', 'made.luks')
    theirsDoes('convert', ...SECRETS, '--image-opts', luks('made.luks'), '-O', 'raw', 'read.raw')
    expect(content('read.raw').equals(sample())).toBe(true)
    peer('qemu-io').check([...SECRETS, '-c', 'write -P 0x5a 5000 70000', '--image-opts', luks('made.luks')], {
      cwd: folder,
    })
    await oursDoes('convert', ...SECRETS, '--image-opts', luks('made.luks'), '-O', 'raw', 'back.raw')
    expect(content('back.raw').equals(Buffer.from(sample().fill(0x5a, 5000, 75_000)))).toBe(true)
  })

  test('made there are read here', async () => {
    const options = 'key-secret=s0,iter-time=0,cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv'
    theirsDoes('create', '-q', ...SECRETS, '-f', 'luks', '-o', options, 'made.luks', String(SIZE))
    const target = ['--target-image-opts', luks('made.luks')]
    theirsDoes('convert', ...SECRETS, '-n', '-f', 'raw', 'plain', ...target)
    await oursDoes('convert', ...SECRETS, '--image-opts', luks('made.luks'), '-O', 'raw', 'read.raw')
    expect(content('read.raw').equals(sample())).toBe(true)
  })

  test('take passwords there that open them here', async () => {
    const options = 'key-secret=s0,iter-time=0'
    await oursDoes('create', '-q', ...SECRETS, '-f', 'luks', '-o', options, 'made.luks', String(SIZE))
    const amend = ['amend', ...SECRETS, '--image-opts', luks('made.luks'), '-o']
    theirsDoes(...amend, 'state=active,new-secret=s1,iter-time=0,keyslot=6')
    theirsDoes(...amend, 'state=inactive,keyslot=0')
    const refused = await ours('map', ...SECRETS, '--image-opts', luks('made.luks'))
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('Invalid password') })
    expect(await ours('map', '--output=json', ...SECRETS, '--image-opts', luks('made.luks', 's1'))).toMatchObject({
      status: 0,
      stdout: `[{ "start": 0, "length": ${SIZE}, "depth": 0, "present": true, "zero": false, "data": true}]\n`,
    })
  })
})

describe('the tools say the same', () => {
  beforeAll(async () => {
    const options = 'key-secret=s0,iter-time=0'
    await oursDoes('create', '-q', ...SECRETS, '-f', 'luks', '-o', options, 'said.luks', String(SIZE))
  })

  const convert = (opts: string, ...more: string[]): string[] => {
    return ['convert', ...more, '--image-opts', opts, '-O', 'raw', 'said.raw']
  }

  test.each(
    [
      convert(luks('said.luks')),
      convert(luks('said.luks', 's9'), ...SECRETS),
      convert(luks('said.luks', 's1'), ...SECRETS),
      convert('driver=luks,file.filename=said.luks', ...SECRETS),
      convert('driver=luks,file.filename=plain', ...SECRETS),
      convert(luks('said.luks'), '--object', 'secret,id=s0,data=a,file=b'),
      convert(luks('said.luks'), '--object', 'secret,id=s0'),
      convert(luks('said.luks'), '--object', 'secret,id=0s,data=a'),
      convert(luks('said.luks'), '--object', 'secret,data=a'),
      convert(luks('said.luks'), '--object', 'secret,id=s0,data=a,format=x'),
      convert(luks('said.luks'), '--object', 'secret,id=s0,data=%%%%,format=base64'),
      convert(luks('said.luks'), '--object', 'secret,id=s0,data=a', '--object', 'secret,id=s0,data=b'),
      convert(luks('said.luks'), '--object', 'secret,id=s0,data=//79,format=base64'),
      ['map', ...SECRETS, '--image-opts', luks('said.luks')],
      ['map', '--output=json', ...SECRETS, '--image-opts', luks('said.luks')],
      ['create', ...SECRETS, '-f', 'luks', '-o', 'iter-time=0', 'no.luks', '1M'],
      ['create', ...SECRETS, '-f', 'luks', '-o', 'key-secret=s9,iter-time=0', 'no.luks', '1M'],
      ['create', ...SECRETS, '-f', 'luks', '-o', 'key-secret=s0,cipher-alg=foo', 'no.luks', '1M'],
      ['create', ...SECRETS, '-f', 'luks', '-o', 'key-secret=s0,cipher-mode=foo', 'no.luks', '1M'],
      ['create', ...SECRETS, '-f', 'luks', '-o', 'key-secret=s0,ivgen-alg=foo', 'no.luks', '1M'],
      ['create', ...SECRETS, '-f', 'luks', '-o', 'key-secret=s0,hash-alg=foo', 'no.luks', '1M'],
    ].map((args) => ({ args, line: args.join(' ') })),
  )('$line', async ({ args }) => {
    const expected = theirs(...args)
    expect(await ours(...args)).toEqual(expected)
  })
})

describe('qcow2', () => {
  test.each([
    ['luks', ',encrypt.iter-time=0', ''],
    ['aes', '', ',encrypt.format=aes'],
  ])('with encryption %s made there is read and written here', async (format, options, wish) => {
    const name = `${format}.qcow2`
    const creation = `encrypt.format=${format},encrypt.key-secret=s0${options}`
    theirsDoes('create', '-q', ...SECRETS, '-f', 'qcow2', '-o', creation, name, String(SIZE))
    theirsDoes('convert', ...SECRETS, '-n', '-f', 'raw', 'plain', '--target-image-opts', qcow2(name))
    await oursDoes('convert', ...SECRETS, '--image-opts', qcow2(name), '-O', 'raw', 'read.raw')
    expect(content('read.raw').equals(sample())).toBe(true)
    const other = Buffer.from(sample().reverse())
    writeFileSync(join(folder, 'other'), other)
    const target = ['--target-image-opts', qcow2(name, wish)]
    await oursDoes('convert', ...SECRETS, '-n', '-f', 'raw', 'other', ...target)
    theirsDoes('convert', ...SECRETS, '--image-opts', qcow2(name), '-O', 'raw', 'back.raw')
    expect(content('back.raw').equals(other)).toBe(true)
    peer('qemu-img').check(['check', ...SECRETS, '--image-opts', qcow2(name)], { cwd: folder })
  })

  test.each([
    ['encrypt.format=luks,encrypt.iter-time=0', 65536],
    ['encrypt.format=luks,encrypt.iter-time=0,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,cluster_size=4k', 4096],
    ['encrypt.format=luks,encrypt.iter-time=0,encrypt.cipher-alg=aes-128,extended_l2=on', 65536],
    ['encrypt.format=luks,encrypt.iter-time=0,compat=0.10,cluster_size=512', 512],
    ['encrypt.format=aes', 65536],
  ])('we make with %s is read and written there', async (options, cluster) => {
    const creation = `encrypt.key-secret=s0,${options}`
    await oursDoes('convert', ...SECRETS, '-f', 'raw', '-O', 'qcow2', '-o', creation, 'plain', 'made.qcow2')
    theirsDoes('convert', ...SECRETS, '--image-opts', qcow2('made.qcow2'), '-O', 'raw', 'read.raw')
    expect(content('read.raw').equals(sample())).toBe(true)
    peer('qemu-io').check([...SECRETS, '-c', 'write -P 0x5a 5000 70000', '--image-opts', qcow2('made.qcow2')], {
      cwd: folder,
    })
    const check = peer('qemu-img').check(['check', ...SECRETS, '--image-opts', qcow2('made.qcow2')], { cwd: folder })
    expect(check).toContain('No errors were found on the image.')
    await oursDoes('convert', ...SECRETS, '--image-opts', qcow2('made.qcow2'), '-O', 'raw', 'back.raw')
    expect(content('back.raw').equals(Buffer.from(sample().fill(0x5a, 5000, 75_000)))).toBe(true)
    expect(await ours('check', ...SECRETS, '--image-opts', qcow2('made.qcow2'))).toMatchObject({ status: 0 })
    expect(content('made.qcow2').length % cluster).toBe(0)
  })

  test.each([
    ['encrypt.format=luks'],
    ['encrypt.format=foo,encrypt.key-secret=s0'],
    ['encrypt.key-secret=s0'],
    ['encryption=on,encrypt.format=luks,encrypt.key-secret=s0'],
    ['encrypt.format=aes,encrypt.key-secret=s0,encrypt.cipher-alg=aes-256'],
    ['encrypt.format=luks,encrypt.key-secret=s9'],
    ['encrypt.format=aes'],
    ['encrypt.format=aes,encrypt.key-secret=s0'],
    ['encryption=on,encrypt.key-secret=s0'],
  ])('made with %s is refused or made in the same words', async (options) => {
    const args = ['create', ...SECRETS, '-f', 'qcow2', '-o', options, 'said.qcow2', '1M']
    const expected = theirs(...args)
    expect(await ours(...args)).toEqual(expected)
  })

  test.each([
    ['aes.qcow2', 's0', 'encrypt.format=luks'],
    ['luks.qcow2', 's0', 'encrypt.format=aes'],
    ['luks.qcow2', 's9', 'encrypt.format=luks'],
    ['luks.qcow2', 's1', 'encrypt.format=luks'],
    ['plain.qcow2', 's0', 'encrypt.format=luks'],
  ])('%s with secret %s and %s is refused in the same words', async (name, secret, format) => {
    theirsDoes('create', '-q', '-f', 'qcow2', 'plain.qcow2', '1M')
    const options = `driver=qcow2,file.filename=${name},encrypt.key-secret=${secret},${format}`
    const args = ['map', ...SECRETS, '--image-opts', options]
    expect(await ours(...args)).toEqual(theirs(...args))
  })
})
