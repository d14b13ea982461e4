import { expect, test } from 'vitest'
import { BDRV_CHILD_DATA, BDRV_CHILD_IMAGE } from '../../../../src/common/child-role.js'
import { BlockError } from '../../../../src/common/error.js'
import { rawDriver } from '../../../../src/drivers/raw.js'
import { type BlockDriver, defineDriver } from '../../../../src/global-state/driver.js'
import { BlockGraph } from '../../../../src/global-state/graph.js'
import { type CreateImageRequest, createImage, prepareImage } from '../../../../src/global-state/life/create-image.js'
import { flagOption, sizeOption, stringOption } from '../../../../src/global-state/options/option-schema.js'
import type { NodeIo } from '../../../../src/io/node-io.js'
import { write } from '../../../../src/io/write.js'

/** A host whose files are buffers, a format with a header and a backing file, and a protocol that cannot create. */
function makeHost(failing: 'nothing' | 'create' | 'format' = 'nothing') {
  const files = new Map([['base', new Uint8Array(2048)]])
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
    async deleteFile(filename) {
      files.delete(filename)
    },
    open(_context, options) {
      if (!files.has(options.filename)) throw new BlockError('ENOENT', `there is no '${options.filename}'`)
      return { io: fileIo(options.filename), state: undefined }
    },
  })
  const fileIo = (name: string): NodeIo => ({
    length: () => files.get(name)?.byteLength ?? 0,
    read: () => {},
    write: (offset, data) => {
      if (data instanceof Uint8Array) files.get(name)?.set(data, offset)
    },
  })
  const format = defineDriver({
    name: 'headed',
    kind: 'format',
    options: {},
    childNames: ['file', 'beside'],
    createOptions: {
      size: sizeOption({ required: true }),
      cluster_size: sizeOption({ default: 65536 }),
      backing_file: stringOption(),
      backing_fmt: stringOption(),
    },
    async create(context, options) {
      const file = await context.createFile({ size: 1024 })
      const beside = await context.createFile({ filename: 'beside', size: 16 })
      await write(file.edge, 0, new Uint8Array(512).fill(0x51))
      if (failing === 'format') throw new BlockError('EIO', 'broken')
      const image = await context.openImage({ file, beside })
      await write(image.edge, 0, new Uint8Array(1).fill(0x52))
      created.push({ ...options, state: image.state })
    },
    async open(context) {
      const file = await context.child('file', BDRV_CHILD_IMAGE)
      const beside = await context.child('beside', BDRV_CHILD_DATA)
      const io: NodeIo = {
        length: () => file.node.state.length,
        read: () => {},
        write: (offset, data) => write(beside, offset, data),
      }
      return { io, state: 'opened' }
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

type Host = ReturnType<typeof makeHost>

function prepare({ graph }: Host, request: CreateImageRequest) {
  return graph.mainLoop((main) => prepareImage(main, graph, request))
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
  // The image was opened by its own driver, on both files.
  expect(files.get('beside')?.subarray(0, 2)).toEqual(Uint8Array.of(0x52, 0))
  expect(created.at(-1)).toEqual({ size: 4096, cluster_size: 65536, state: 'opened' })
  expect([graph.nodes.size, graph.backends.size]).toEqual([0, 0])
})

test('a format that fails leaves nothing open, and what does not fit is told in plain words', async () => {
  const broken = makeHost('format')
  const request = { filename: 'a', format: 'headed', size: 4096 }
  await expect(broken.graph.mainLoop((main) => createImage(main, broken.graph, request))).rejects.toMatchObject({
    code: 'EIO',
  })
  expect([broken.graph.nodes.size, broken.graph.backends.size]).toEqual([0, 0])
  // What was made for it has gone; what was there has not.
  expect([...broken.files.keys()]).toEqual(['base'])
  const full = makeHost('create')
  const message = "The image size is too large for file format 'headed' (try using a larger cluster size)"
  const tooLarge = { code: 'EFBIG', message }
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
    { filename: 'a', format: 'headed', size: 1, backingFile: 'base' },
    'EINVAL',
    'Backing file specified without backing format',
  ],
  [
    { filename: 'a', format: 'headed', size: 1, backingFile: 'a', backingFormat: 'raw' },
    'EINVAL',
    'Error: Trying to create an image with the same filename as the backing file',
  ],
  [
    { filename: 'a', format: 'headed', backingFile: 'gone', backingFormat: 'raw' },
    'ENOENT',
    expect.stringContaining('gone'),
  ],
  [{ filename: 'a', format: 'headed', backingFile: 'base', backingFormat: 'foo' }, 'EINVAL', "Unknown driver 'foo'"],
  [
    { filename: 'a', format: 'headed', options: { backing_file: '', backing_fmt: 'raw' } },
    'EINVAL',
    'Expected backing file name, got empty string',
  ],
  [
    { filename: 'a', format: 'headed', backingFile: 'b', backingFormat: 'raw', trustBacking: true },
    'EINVAL',
    'Image creation needs a size parameter',
  ],
])('%j is refused before anything is touched', async (request, code, message) => {
  const host = makeHost()
  await expect(prepare(host, request)).rejects.toMatchObject({ code, message })
  expect(host.created).toEqual([])
})

test('what was prepared says what will be made: what was given and the defaults of the format, in order', async () => {
  const prepared = await prepare(makeHost(), {
    filename: 'a',
    format: 'headed',
    options: { nocow: 'off', size: '1.5k' },
    backingFile: 'gone',
    backingFormat: 'raw',
    trustBacking: true,
  })
  expect(prepared).toMatchObject({ filename: 'a', size: 1536 })
  expect(Object.entries(prepared.options)).toEqual([
    ['size', 1536],
    ['cluster_size', 65536],
    ['backing_file', 'gone'],
    ['backing_fmt', 'raw'],
    ['nocow', false],
  ])
})

test('the backing file says how long the image is, and what its format is where nobody does', async () => {
  const host = makeHost()
  const request = { filename: 'a', format: 'headed', backingFile: 'base' }
  expect((await prepare(host, { ...request, backingFormat: 'raw' })).size).toBe(2048)
  expect((await prepare(host, { ...request, backingFormat: 'raw', size: 512 })).size).toBe(512)
  await expect(prepare(host, request)).rejects.toMatchObject({ hint: 'Detected format of raw.' })
  expect([host.graph.nodes.size, host.graph.backends.size]).toEqual([0, 0])
})
