// blockgraph-io against the real qemu-io on qcow2 images: the bytes of the images are compared too, but for compressed data.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, test } from 'vitest'
import { peer } from '../support/peers.js'
import { ioFixtures } from './io-commands.js'
import { IoPair, lineOf } from './io-pair.js'
import { IO_QCOW2_CASES, makeQcow2Fixtures } from './io-qcow2-commands.js'

let root: string | undefined
let pair: IoPair | undefined

// Here, so that a missing peer skips tests, and not the file.
beforeEach(async () => {
  if (pair !== undefined) return
  const img = peer('qemu-img')
  const io = peer('qemu-io')
  if (root !== undefined) throw new Error('the fixtures could not be made')
  root = mkdtempSync(join(tmpdir(), 'blockgraph-io-qcow2-'))
  const folder = join(root, 'fixtures')
  mkdirSync(folder)
  await makeQcow2Fixtures(folder, img, io)
  const images = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))] as const)
  pair = new IoPair(root, { ...ioFixtures(), ...Object.fromEntries(images) })
})

afterAll(() => {
  if (root !== undefined) rmSync(root, { recursive: true, force: true })
})

test.each(IO_QCOW2_CASES.map((each) => ({ each, line: lineOf(each) })))('$line', ({ each }) => pair?.compare(each))
