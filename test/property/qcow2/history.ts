// What a disk may show after, and during, requests that were in flight together: each of them takes effect at one moment between
// its begin and its end, apart for every sector. What a byte shows was written by one that no later one surely replaced.

const SECTOR = 512

/** A request that changes or shows a range. Times are steps of one counter. */
export interface Effect {
  kind: 'write' | 'zero' | 'discard' | 'read'
  offset: number
  bytes: number
  /** Of a write: what it writes. Of a read: what it has read. */
  data: Uint8Array
  begin: number
  end: number
  /** `vain`: it has done nothing; `unclear`: it may have, or a part of it. */
  outcome: 'pending' | 'done' | 'vain' | 'unclear'
}

/** The requests since the disk showed `base`. */
export class History {
  readonly base: Uint8Array
  readonly effects: Effect[] = []
  #time = 0

  constructor(base: Uint8Array) {
    this.base = base
  }

  begin(kind: Effect['kind'], offset: number, data: Uint8Array): Effect {
    const bytes = data.byteLength
    const effect: Effect = { kind, offset, bytes, data, begin: ++this.#time, end: Infinity, outcome: 'pending' }
    this.effects.push(effect)
    return effect
  }

  end(effect: Effect, outcome: Effect['outcome']): void {
    effect.end = ++this.#time
    effect.outcome = outcome
  }

  /** What is wrong with the reads that have ended; undefined where nothing is. */
  judgeReads(): string | undefined {
    for (const effect of this.effects) {
      if (effect.kind !== 'read' || effect.outcome !== 'done') continue
      const wrong = this.judge(effect.offset, effect.data, effect.begin, effect.end)
      if (wrong !== undefined) return `a read of ${effect.bytes} bytes at ${effect.offset}: ${wrong}`
    }
    return undefined
  }

  /** Whether `shown` may stand at `offset` for one who looks from `begin` to `end`; what is wrong where it may not. */
  judge(offset: number, shown: Uint8Array, begin = Infinity, end = Infinity): string | undefined {
    const changes = this.effects.filter(({ kind, outcome }) => kind !== 'read' && outcome !== 'vain')
    const cuts = new Set<number>([offset, offset + shown.byteLength])
    const cut = (at: number) => {
      if (at > offset && at < offset + shown.byteLength) cuts.add(at)
    }
    for (let at = Math.ceil(offset / SECTOR) * SECTOR; at < offset + shown.byteLength; at += SECTOR) cut(at)
    for (const change of changes) {
      cut(change.offset)
      cut(change.offset + change.bytes)
    }
    const places = [...cuts].sort((a, b) => a - b)
    for (let i = 0; i + 1 < places.length; i++) {
      const [from, to] = [places[i] ?? 0, places[i + 1] ?? 0]
      const part = shown.subarray(from - offset, to - offset)
      const over = changes.filter((one) => one.offset < to && from < one.offset + one.bytes)
      if (this.#sources(over, from, to, begin, end).some((source) => Buffer.compare(source, part) === 0)) continue
      return `${describe(part)} at ${from}; ${over.map(label).join(', ') || 'nothing'} was written there`
    }
    return undefined
  }

  /** All that may be seen from `from` to `to`, which no request touches in part. */
  #sources(over: readonly Effect[], from: number, to: number, begin: number, end: number): Uint8Array[] {
    const replaced = (since: number) =>
      over.some((other) => isSure(other) && other.begin > since && other.end < begin && other.end !== Infinity)
    const sources: Uint8Array[] = []
    if (!replaced(0)) sources.push(this.base.subarray(from, to))
    for (const one of over) {
      if (one.begin > end || replaced(one.end)) continue
      if (one.kind === 'write') sources.push(one.data.subarray(from - one.offset, to - one.offset))
      else sources.push(new Uint8Array(to - from))
    }
    return sources
  }
}

/** Whether it has surely replaced what was there. A discard may leave it. */
function isSure({ kind, outcome }: Effect): boolean {
  return outcome === 'done' && kind !== 'discard'
}

function describe(part: Uint8Array): string {
  return part.every((byte) => byte === part[0]) ? `${part.byteLength} times ${part[0]}` : `[${part.slice(0, 8)}...]`
}

function label({ kind, offset, bytes, data, begin, end, outcome }: Effect): string {
  const value = kind === 'write' ? ` of ${data[0]}` : ''
  return `${kind}${value} ${offset}+${bytes} (${begin}..${end} ${outcome})`
}
