import { expect, test } from 'vitest'
import { BlockError } from '../../../../src/common/error.js'
import { rawDriver } from '../../../../src/drivers/raw.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { createImage, prepareImage } from '../../../../src/global-state/life/create-image.js'
import { flagOption, sizeOption, stringOption } from '../../../../src/global-state/options/option-schema.js'
import { write } from '../../../../src/io/write.js'

/** A host whose files are buffers, a format with a header and a backing file, and a protocol that cannot create. */
function makeHost(failing: 'nothing' | 'create' | 'format' = 'nothing') {
  const files = new Map<string, Uint8Array>()
  const created: Record<string, unknown>[] = []
  const file = defineDriver({
    name: 'file',
    kind: 'protocol',
    protocolName: 'file',
    options: { filename: stringOption({ required: true }) },
    createOptions: { size: sizeOption({ required: true }), nocow: flagOption({ default: false }) },
    async create(context, options) {
      if (failing === 'create') throw new BlockError('EFBIG', 'too big for the host')
      created.push(options)
      files.set(context.filename, new Uint8Array(Number(options.size)))
    },
    open: (_context, options) => ({
      io: {
        length: () => files.get(options.filename)?.byteLength ?? 0,
        read: () => {},
        write: (offset, data) => {
          if (data instanceof Uint8Array) files.get(options.filename)?.set(data, offset)
        },
      },
      state: undefined,
    }),
  })
  const format = defineDriver({
    name: 'headed',
    kind: 'format',
    options: {},
    createOptions: {
      size: sizeOption({ required: true }),
      cluster_size: sizeOption({ default: 65536 }),
      backing_file: stringOption(),
      backing_fmt: stringOption(),
    },
    async create(context, options) {
      const { edge } = await context.createFile({ size: 1024 })
      await write(edge, 0, new Uint8Array(512).fill(0x51))
      if (failing === 'format') throw new BlockError('EIO', 'broken')
      created.push(options)
    },
    open: async () => {
      throw new BlockError('ENOTSUP', 'never opened here')
    },
  })
  const fixed = defineDriver({
    name: 'fixed',
    kind: 'protocol',
    protocolName: 'fixed',
    options: {},
    open: () => ({ io: { length: () => 0, read: () => {} }, state: undefined }),
  })
  const drivers = [file, format, fixed, rawDriver] as unknown as BlockDriver[]
  return { graph: new BlockGraph({ drivers }), files, created }
}

function refusal(act: () => unknown): BlockError {
  try {
    act()
  } catch (thrown) {
    if (thrown instanceof BlockError) return thrown
  }
  throw new Error('no BlockError')
}

test('a raw image is its file; options of the protocol reach the protocol', async () => {
  const { graph, files, created } = makeHost()
  const request = { filename: 'a', format: 'raw', options: { size: '1k', nocow: 'on' } }
  await graph.mainLoop((main) => createImage(main, graph, request))
  expect(files.get('a')?.byteLength).toBe(1024)
  expect(created).toEqual([{ size: 1024, nocow: true }])
  expect(graph.nodes.size).toBe(0)
})

test('a format writes its header to the new file, which is closed when it is done', async () => {
  const { graph, files, created } = makeHost()
  await graph.mainLoop((main) => createImage(main, graph, { filename: 'a', format: 'headed', size: 4096 }))
  expect(files.get('a')?.subarray(0, 513)).toEqual(new Uint8Array(513).fill(0x51, 0, 512))
  expect(created.at(-1)).toEqual({ size: 4096, cluster_size: 65536 })
  expect([graph.nodes.size, graph.backends.size]).toEqual([0, 0])
})

test('a format that fails leaves nothing open, and what does not fit is told in plain words', async () => {
  const broken = makeHost('format')
  const request = { filename: 'a', format: 'headed', size: 4096 }
  await expect(broken.graph.mainLoop((main) => createImage(main, broken.graph, request))).rejects.toMatchObject({
    code: 'EIO',
  })
  expect([broken.graph.nodes.size, broken.graph.backends.size]).toEqual([0, 0])
  const full = makeHost('create')
  const tooLarge = { code: 'EFBIG', message: "The image size is too large for file format 'headed'" }
  await expect(full.graph.mainLoop((main) => createImage(main, full.graph, request))).rejects.toMatchObject(tooLarge)
  const beyond = { ...request, size: 2 ** 60 }
  await expect(full.graph.mainLoop((main) => createImage(main, full.graph, beyond))).rejects.toMatchObject(tooLarge)
})

test.each([
  [{ filename: 'a', format: 'foo', size: 1 }, 'EINVAL', "Unknown file format 'foo'"],
  [{ filename: 'a', format: 'fixed', size: 1 }, 'ENOTSUP', "Format driver 'fixed' does not support image creation"],
  [
    { filename: 'fixed:a', format: 'raw', size: 1 },
    'ENOTSUP',
    "Protocol driver 'fixed' does not support image creation",
  ],
  [{ filename: 'foo:a', format: 'raw', size: 1 }, 'EINVAL', "Unknown protocol 'foo'"],
  [{ filename: 'a', format: 'raw' }, 'EINVAL', 'Image creation needs a size parameter'],
  [
    { filename: 'a', format: 'raw', size: 1, options: { size: '2' } },
    'EINVAL',
    'The image size must be specified only once',
  ],
  [{ filename: 'a', format: 'raw', size: 1, options: { foo: 'x' } }, 'EINVAL', "Invalid parameter 'foo'"],
  [
    { filename: 'a', format: 'raw', options: { size: 'x' } },
    'EINVAL',
    "Parameter 'size' expects a non-negative number below 2^64",
  ],
  [
    { filename: 'a', format: 'raw', size: 1, options: { nocow: 'x' } },
    'EINVAL',
    "Parameter 'nocow' expects 'on' or 'off'",
  ],
  [
    { filename: 'a', format: 'raw', size: 1, backingFile: 'b' },
    'EINVAL',
    "Backing file not supported for file format 'raw'",
  ],
  [
    { filename: 'a', format: 'headed', size: 1, backingFile: 'b' },
    'EINVAL',
    'Backing file specified without backing format',
  ],
  [
    { filename: 'a', format: 'headed', size: 1, backingFile: 'a', backingFormat: 'raw' },
    'EINVAL',
    'Error: Trying to create an image with the same filename as the backing file',
  ],
])('%j is refused before anything is touched', (request, code, message) => {
  const { graph, files } = makeHost()
  expect(refusal(() => prepareImage(graph, request))).toMatchObject({ code, message })
  expect(files.size).toBe(0)
})

test('what was prepared says what will be made', () => {
  const { graph } = makeHost()
  const prepared = prepareImage(graph, {
    filename: 'a',
    format: 'headed',
    options: { size: '1.5k', nocow: 'off', cluster_size: '4k' },
    backingFile: 'b',
    backingFormat: 'raw',
  })
  expect(prepared).toMatchObject({ filename: 'a', size: 1536 })
  expect(prepared.options).toEqual({
    size: 1536,
    nocow: false,
    cluster_size: 4096,
    backing_file: 'b',
    backing_fmt: 'raw',
  })
})
