import { expect, test } from 'vitest'
import { asksForOptions, describeCreation, joinOptionLists } from '../../../src/cli/creation-options.js'
import { creationFailed, errnoText, failed, messageText } from '../../../src/cli/error-text.js'
import { infoText } from '../../../src/cli/img/image-info.js'
import { continues } from '../../../src/cli/img/map.js'
import { prettyJson, spacedJsonName } from '../../../src/cli/json-text.js'
import { Progress } from '../../../src/cli/progress.js'
import { printable, printError, ToolError } from '../../../src/cli/tool.js'
import { BlockError } from '../../../src/common/error.js'
import { recordingTool } from './recording-tool.js'

test('every line of a message stands behind the tool name, hints do not, and nothing drives the terminal', () => {
  const tool = recordingTool()
  printError(tool, new ToolError('one\ntwo \x1b[31m', 1, ['hint\x07']))
  expect(tool.stderr).toBe('tool: one\ntool: two \\x1b[31m\nhint\\x07\n')
  expect(printable('a\nb\x7f')).toBe('a\\x0ab\\x7f')
})

test('messages lose generated node names and keep given ones', () => {
  expect(messageText(new BlockError('EIO', 'broken', { node: '#block001' }))).toBe('broken')
  expect(messageText(new BlockError('EIO', 'broken', { node: 'disk0' }))).toBe('disk0: broken')
  expect(errnoText(new BlockError('ENOSPC', 'whatever'))).toBe('No space left on device')
  expect(errnoText(new Error('whatever'))).toBe('Input/output error')
})

test('a file that cannot be opened is told in the words for its code, also where it was to be created', () => {
  const missing = new BlockError('ENOENT', "Could not open 'a': No such thing: x")
  expect(failed('what', missing).message).toBe("what: Could not open 'a': No such file or directory")
  expect(creationFailed('what', missing).message).toBe("what: Could not create 'a': No such file or directory")
  const folder = new BlockError('EISDIR', "'d' is a directory, not an image")
  expect(failed('what', folder).message).toBe("what: 'file' driver requires 'd' to be a regular file")
  const locked = new BlockError('EAGAIN', 'Failed to get "write" lock', { hint: 'Who?\nHe.' })
  expect(failed('what', locked, 3)).toMatchObject({ exitCode: 3, hints: ['Who?', 'He.'] })
})

test('progress prints its steps, always 0 and 100, and nothing where it is off', () => {
  const tool = recordingTool()
  const progress = new Progress(tool, true, 2)
  for (const percent of [0, 1, 1.9, 2.5, 4, 99, 100, 100]) progress.report(percent)
  progress.end()
  const line = (percent: string) => `    (${percent}/100%)\r`
  expect(tool.stdout).toBe(`${['0.00', '2.50', '99.00', '100.00', '100.00'].map(line).join('')}\n`)
  const silent = recordingTool()
  new Progress(silent, false, 2).report(100)
  expect(silent.stdout).toBe('')
})

test('json: names are set with spaces, and only those', () => {
  expect(spacedJsonName('json:{"driver":"raw","list":[1,true,null],"file":{"filename":"a: b,c"}}')).toBe(
    'json:{"driver": "raw", "list": [1, true, null], "file": {"filename": "a: b,c"}}',
  )
  expect(spacedJsonName('a.img')).toBe('a.img')
  expect(prettyJson({ a: [1] })).toBe('{\n    "a": [\n        1\n    ]\n}')
})

test('info says what is known', () => {
  const text = infoText({
    'virtual-size': 1048576,
    filename: 'a\nb',
    format: 'raw',
    'cluster-size': 65536,
    'dirty-flag': true,
  })
  expect(text).toBe(
    'image: a\\x0ab\nfile format: raw\nvirtual size: 1 MiB (1048576 bytes)\ndisk size: unavailable\ncluster_size: 65536\ncleanly shut down: no\n',
  )
})

test('info names the backing file as the image does, and where that is', () => {
  const found = { 'virtual-size': 512, filename: 'sub/a', format: 'qcow2', 'backing-filename': 'b' }
  const lines = (more: object) =>
    infoText({ ...found, ...more })
      .split('\n')
      .slice(4, -1)
  expect(lines({ 'full-backing-filename': 'b', 'backing-filename-format': 'raw' })).toEqual([
    'backing file: b',
    'backing file format: raw',
  ])
  expect(lines({ 'full-backing-filename': 'sub/b' })).toEqual(['backing file: b (actual path: sub/b)'])
  expect(lines({})).toEqual(['backing file: b (cannot determine actual path)'])
  expect(lines({ encrypted: true })[0]).toBe('encrypted: yes')
  expect(
    lines({ 'format-specific': { type: 'qcow2', data: { 'refcount-bits': 16, bitmaps: [{ flags: [] }] } } }),
  ).toEqual([
    'backing file: b (cannot determine actual path)',
    'Format specific information:',
    '    refcount bits: 16',
    '    bitmaps:',
    '        [0]:',
    '            flags:',
  ])
})

test('entries of a map join only where status and place on the host continue', () => {
  const data = { bytes: 10, data: true, zero: false, present: true, depth: 0 }
  const entry = { ...data, start: 100, map: 1000 }
  expect(continues(entry, { ...data, map: 1010 })).toBe(true)
  expect(continues(entry, { ...data, map: 1011 })).toBe(false)
  expect(continues(entry, data)).toBe(false)
  expect(continues(entry, { ...data, map: 1010, depth: 1 })).toBe(false)
  expect(continues(entry, { ...data, map: 1010, zero: true })).toBe(false)
  expect(continues({ ...data, start: 0 }, data)).toBe(true)
  expect(continues({ ...entry, bytes: 0 }, { ...data, map: 1000 })).toBe(false)
})

test('lists of creation options', () => {
  expect(joinOptionLists(undefined)).toBeUndefined()
  expect(joinOptionLists(['a=1', 'b=2,c'])).toBe('a=1,b=2,c')
  expect(joinOptionLists(['a=1,,'])).toBe('a=1,,')
  for (const bad of ['', ',', ',a=1', 'a=1,']) expect(() => joinOptionLists([bad])).toThrow('Invalid option list')
  expect(asksForOptions('size=1M,help')).toBe(true)
  expect(asksForOptions('size=helpme')).toBe(false)
  expect(asksForOptions(undefined)).toBe(false)
  expect(describeCreation({ other: 'x', preallocation: 'off', size: 2 ** 60, nocow: true })).toBe(
    'other=x preallocation=off size=1152921504606846976 nocow=on',
  )
})

test('a message that begins with the name of the image that could not be created does not get it twice', () => {
  expect(creationFailed('a.img', new BlockError('EIO', 'broken', { node: 'a.img' })).message).toBe('a.img: broken')
  expect(creationFailed('a.img', new BlockError('EIO', 'broken', { node: 'disk0' })).message).toBe(
    'a.img: disk0: broken',
  )
  expect(creationFailed('a.img', new BlockError('EIO', 'broken')).message).toBe('a.img: broken')
})
