// A virtqueue between two worker threads: the driver in one sends chains of one, two and three descriptors in turn, the
// device in the other reads and answers each. Prints how often each side notified the other, and the time.
// Usage: node build/examples/ring-parallel.js [--indirect] [--eventidx] [--packed] [--in-order] [--count N] [--size N] [--json]

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { type MessagePort, parentPort, Worker, workerData } from 'node:worker_threads'
import {
  createSharedRing,
  DescriptorChain,
  FETCH_CHAIN,
  FETCH_EMPTY,
  type SharedRing,
  SharedRingDevice,
  SharedRingDriver,
} from 'blockgraph'

interface Job {
  end: 'driver' | 'device'
  ring: SharedRing
  count: number
}

interface Report {
  notified: number
  pinged: number
  seconds: number
}

/** Bytes of buffers for each chain: two words that the device reads, and one that it writes. */
const SLOT = 16

if (parentPort === null) await main()
else await runEnd(parentPort, workerData as Job)

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      indirect: { type: 'boolean', default: false },
      eventidx: { type: 'boolean', default: false },
      packed: { type: 'boolean', default: false },
      'in-order': { type: 'boolean', default: false },
      count: { type: 'string', default: '10000000' },
      size: { type: 'string', default: '256' },
      json: { type: 'boolean', default: false },
    },
  })
  const [count, size] = [Number(values.count), Number(values.size)]
  assert(Number.isSafeInteger(count) && count > 0, `--count ${values.count}`)
  const { packed, indirect, eventidx, 'in-order': inOrder } = values
  const features = { packed, indirect, eventIndex: eventidx, inOrder }
  const ring = createSharedRing({ size, dataBytes: size * SLOT, features, tableEntries: 4 })
  const { driver, device } = await runBoth(ring, count)
  const { seconds } = driver
  if (values.json) {
    console.log(JSON.stringify({ count, size, seconds, driver, device }))
    return
  }
  console.log(`driver: notified ${driver.notified}, pinged ${driver.pinged}`)
  console.log(`device: notified ${device.notified}, pinged ${device.pinged}`)
  console.log(`${count} transfers in ${seconds.toFixed(2)} s: ${(count / seconds / 1e6).toFixed(2)} million a second`)
}

/** Starts both ends, and their clocks when both are there. */
async function runBoth(ring: SharedRing, count: number): Promise<{ driver: Report; device: Report }> {
  const start = (end: Job['end']) => new Worker(new URL(import.meta.url), { workerData: { end, ring, count } })
  const [driver, device] = [start('driver'), start('device')]
  await Promise.all([once(driver, 'message'), once(device, 'message')])
  const reports = Promise.all([once(driver, 'message'), once(device, 'message')])
  for (const worker of [device, driver]) worker.postMessage('go')
  const [[driverReport], [deviceReport]] = (await reports) as [[Report], [Report]]
  return { driver: driverReport, device: deviceReport }
}

async function runEnd(port: MessagePort, { end, ring, count }: Job): Promise<void> {
  const go = once(port, 'message')
  port.postMessage('ready')
  await go
  const began = performance.now()
  const { notified, pinged } = end === 'driver' ? drive(ring, count) : serve(ring, count)
  port.postMessage({ notified, pinged, seconds: (performance.now() - began) / 1000 } satisfies Report)
  port.close()
}

/** Sends transfers until all have come back: as many as fit, then it takes back what has come, or sleeps. */
function drive(ring: SharedRing, count: number): SharedRingDriver {
  const end = new SharedRingDriver(ring)
  const { queue } = end
  const data = new Uint32Array(ring.buffer, ring.dataAddress, ring.dataBytes / 4)
  /** By the head of its chain, the number of a transfer. */
  const numbers = new Uint32Array(queue.size)
  let sent = 0
  let back = 0
  const send = (): boolean => {
    const head = queue.begin(1 + (sent % 3))
    if (head < 0) return false
    const address = ring.dataAddress + head * SLOT
    const word = head * (SLOT / 4)
    const kind = sent % 3
    if (kind > 0) {
      data[word] = sent
      queue.append(address, 4, false)
    }
    if (kind > 1) {
      data[word + 1] = sent
      queue.append(address + 4, 4, false)
    }
    queue.append(address + 8, 4, true)
    queue.end()
    numbers[head] = sent
    sent++
    return true
  }
  const takeBack = (): boolean => {
    const head = queue.reap()
    if (head < 0) return false
    if (data[head * (SLOT / 4) + 2] !== numbers[head] || queue.usedLength !== 4)
      throw new Error(`transfer ${numbers[head]}`)
    back++
    return true
  }
  while (back < count) {
    while (sent < count && send());
    end.publish()
    if (!takeBack()) end.wait(Math.ceil((queue.inFlight * 3) / 4))
    while (takeBack());
  }
  return end
}

/** Answers transfers with their number, which the readable words of a chain, if it has any, must say as well. */
function serve(ring: SharedRing, count: number): SharedRingDevice {
  const end = new SharedRingDevice(ring)
  const { queue } = end
  const chain = new DescriptorChain()
  for (let done = 0; done < count; ) {
    const result = queue.fetch(chain)
    if (result === FETCH_CHAIN) {
      answer(chain, done)
      queue.push(chain.head, 4)
      done++
    } else if (result === FETCH_EMPTY) {
      end.publish()
      if (!end.wait()) break
    } else {
      throw new Error(queue.fault)
    }
  }
  end.publish()
  return end
}

function answer(chain: DescriptorChain, number: number): void {
  const last = chain.readableSegments
  for (let i = 0; i < last; i++) {
    if (chain.segmentRegion(i).words[chain.segmentStart(i) >>> 2] !== number) throw new Error(`transfer ${number}`)
  }
  chain.segmentRegion(last).words[chain.segmentStart(last) >>> 2] = number
}
