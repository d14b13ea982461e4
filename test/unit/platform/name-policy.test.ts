// Names found inside an image, by where they really lead.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { realFolderPolicy } from '../../../src/platform/name-policy.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'names-'))
  mkdirSync(join(folder, 'images'))
  for (const name of ['secret', 'images/top.img', 'images/base.img']) writeFileSync(join(folder, name), '')
  symlinkSync(join(folder, 'secret'), join(folder, 'images', 'link.img'))
  symlinkSync(join(folder, 'images'), join(folder, 'other'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const judge = async (name: string, resolved: string) =>
  realFolderPolicy({ image: join(folder, 'images/top.img'), name, resolved, use: 'backing' })

it.each([
  ['base.img', 'images/base.img'],
  ['./base.img', 'images/./base.img'],
  ['missing.img', 'images/missing.img'],
  ['../other/base.img', 'other/base.img'],
])('%s is in the folder of the image', async (name, where) => {
  await expect(judge(name, join(folder, where))).resolves.toBeUndefined()
})

it('so is an absolute name of a file there', async () => {
  const path = join(folder, 'images/base.img')
  await expect(judge(path, path)).resolves.toBeUndefined()
})

it.each([
  ['../secret', 'secret'],
  ['link.img', 'images/link.img'],
  ['../missing.img', 'missing.img'],
])('%s leads out of it', async (name, where) => {
  await expect(judge(name, join(folder, where))).rejects.toMatchObject({ code: 'EACCES' })
})

it.each(['nbd:host', 'json:{}', 'a\nb'])('%j is no plain name', async (name) => {
  await expect(judge(name, join(folder, 'images/base.img'))).rejects.toMatchObject({ code: 'EACCES' })
})
