// What a request costs between a backend and a driver that does nothing: raw over null, QD 32. Run after `npm run build`
// with `node test/bench/io-path.mjs`, or with another build folder as its argument. Prints microseconds per request, by the
// wall clock and by the processor time of the process, which a busy machine disturbs less.

import { fileURLToPath, pathToFileURL } from 'node:url'

const dist =
  process.argv[2] === undefined ? new URL('../../dist/', import.meta.url) : pathToFileURL(`${process.argv[2]}/`)
const load = (path) => import(new URL(path, dist))

const { BackendRoot } = await load('io/backend/root.js')
const { backendRead } = await load('io/backend/read.js')
const { backendWrite } = await load('io/backend/write.js')
const { submitRead } = await load('io/backend/submit.js')
const { createEnvironment } = await load('io/environment.js')
const { createRequestState } = await load('io/request-state.js')
const { defaultLimits } = await load('common/limits.js')
const { read } = await load('io/read.js')
const { write } = await load('io/write.js')

const LENGTH = 2 ** 30
const environment = createEnvironment()

class Node {
  constructor(name, kind, io) {
    this.nodeName = name
    this.driver = { name, kind, supportsBacking: false }
    this.io = io
    this.openFlags = 2
    this.detectZeroes = 'off'
    this.closed = false
    this.children = []
    this.parents = new Set()
    this.state = createRequestState(environment, this, defaultLimits())
    this.state.length = LENGTH
  }
  get readOnly() {
    return (this.openFlags & 2) === 0
  }
  get inactive() {
    return (this.openFlags & 0x800) !== 0
  }
}

const edgeTo = (node, parent) => {
  const edge = { name: 'file', role: 20, node, perm: 15, shared: 15, parent, quiesced: false, frozen: false }
  node.parents.add(edge)
  return edge
}

const rawOver = (below) => {
  const io = {
    length: () => LENGTH,
    read: (offset, into, flags) => read(edge, offset, into, flags),
    write: (offset, data, flags) => write(edge, offset, data, flags),
  }
  const node = new Node('raw', 'format', io)
  const edge = edgeTo(below, { node, describe: () => 'raw' })
  node.children.push(edge)
  return node
}

const rootOver = (node) => {
  const root = new BackendRoot({ name: 'bench', environment })
  root.edge = edgeTo(node, root)
  return root
}

const nullCo = () => new Node('null-co', 'protocol', { length: () => LENGTH, read: () => {}, write: () => {} })
const nullAio = () => {
  const done = () => Promise.resolve()
  return new Node('null-aio', 'protocol', { length: () => LENGTH, read: done, write: done })
}

const DEPTH = 32
async function run(count, issue) {
  const buffers = Array.from({ length: DEPTH }, () => new Uint8Array(4096))
  const each = count / DEPTH
  const worker = async (lane) => {
    const buffer = buffers[lane]
    for (let i = 0; i < each; i++) await issue(((i * DEPTH + lane) * 4096) % LENGTH, buffer)
  }
  const stop = startWatch(count)
  await Promise.all(buffers.map((_, lane) => worker(lane)))
  return stop()
}

function runNow(count, issue) {
  const buffer = new Uint8Array(4096)
  const stop = startWatch(count)
  for (let i = 0; i < count; i++) issue((i * 4096) % LENGTH, buffer)
  return stop()
}

function startWatch(count) {
  const began = performance.now()
  const cpu = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    return { wall: ((performance.now() - began) * 1000) / count, cpu: (user + system) / count }
  }
}

async function measure(label, once) {
  await once()
  const samples = []
  for (let i = 0; i < 5; i++) samples.push(await once())
  const median = (key) =>
    samples
      .map((sample) => sample[key])
      .sort((a, b) => a - b)[2]
      .toFixed(3)
  console.log(`${label.padEnd(40)} ${median('wall')} us wall, ${median('cpu')} us cpu`)
}

const sync = rootOver(rawOver(nullCo()))
const aio1 = rootOver(nullAio())
const aio = rootOver(rawOver(nullAio()))
const COUNT = Number(process.env.COUNT ?? 320_000)
const only = process.env.ONLY
const cases = {
  'submit read, raw over null-co': () => runNow(COUNT * 4, (offset, buffer) => submitRead(sync, offset, buffer)),
  'backend read, raw over null-co': () => run(COUNT, (offset, buffer) => backendRead(sync, offset, buffer)),
  'backend write, raw over null-co': () => run(COUNT, (offset, buffer) => backendWrite(sync, offset, buffer)),
  'await of a shared promise alone': () => run(COUNT, () => sharedPromise),
  'backend read, null-aio': () => run(COUNT, (offset, buffer) => backendRead(aio1, offset, buffer)),
  'backend read, raw over null-aio': () => run(COUNT, (offset, buffer) => backendRead(aio, offset, buffer)),
  'backend write, raw over null-aio': () => run(COUNT, (offset, buffer) => backendWrite(aio, offset, buffer)),
}
const sharedPromise = Promise.resolve()
for (const [label, once] of Object.entries(cases))
  if (only === undefined || label.includes(only)) await measure(label, once)
console.log(`(${fileURLToPath(dist)})`)
