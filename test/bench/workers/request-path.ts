// Rate of requests of the library's own interface over a null driver, 32 in flight, 4 KiB: awaited one by one, as users
// write it, or submitted, as devices do. Arguments: driver, `awaited` or `submitted`, `read` or `write`, count.

import { type BlockBackend, submitRead, submitWrite } from 'blockgraph'
import { type NullDriver, nullBackend } from './null-disk.js'

const DEPTH = 32
const BYTES = 4096

const [driver = 'null-co', manner = 'awaited', kind = 'read', count = '2000000'] = process.argv.slice(2)
const backend = await nullBackend(driver as NullDriver)
const each = Math.ceil(Number(count) / DEPTH)
const began = performance.now()
await Promise.allSettled(
  Array.from({ length: DEPTH }, (_, lane) => (manner === 'awaited' ? readOrWrite(lane) : submit(lane))),
)
const seconds = (performance.now() - began) / 1000
console.log(JSON.stringify({ rate: (each * DEPTH) / seconds }))

async function readOrWrite(lane: number): Promise<void> {
  const buffer = new Uint8Array(BYTES)
  const issue = kind === 'read' ? backend.read.bind(backend) : backend.write.bind(backend)
  for (let i = 0; i < each; i++) await issue(offsetOf(backend, i, lane), buffer)
}

async function submit(lane: number): Promise<void> {
  const buffer = new Uint8Array(BYTES)
  const { root } = backend
  const issue = kind === 'read' ? submitRead : submitWrite
  for (let i = 0; i < each; i++) {
    const pending = issue(root, offsetOf(backend, i, lane), buffer)
    if (pending !== undefined) await pending
  }
}

function offsetOf({ length }: BlockBackend, index: number, lane: number): number {
  return ((index * DEPTH + lane) * BYTES) % length
}
