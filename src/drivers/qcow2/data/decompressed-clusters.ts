// The contents of the compressed clusters read last, so that a reader who takes small pieces does not decompress a cluster
// for each of them. Emptied whenever host clusters change hands.

const MOST = 8

/** A few clusters by the place of their compressed data. */
export class DecompressedClusters {
  readonly #clusters = new Map<number, Uint8Array>()
  /** Rises when contents may have changed: what was begun before is not kept. */
  #generation = 0

  get generation(): number {
    return this.#generation
  }

  get(hostOffset: number): Uint8Array | undefined {
    return this.#clusters.get(hostOffset)
  }

  /** Keeps a cluster that was begun to be read in `generation`. */
  keep(hostOffset: number, data: Uint8Array, generation: number): void {
    if (generation !== this.#generation) return
    if (this.#clusters.size >= MOST) {
      const [oldest] = this.#clusters.keys()
      if (oldest !== undefined) this.#clusters.delete(oldest)
    }
    this.#clusters.set(hostOffset, data)
  }

  clear(): void {
    this.#generation++
    if (this.#clusters.size > 0) this.#clusters.clear()
  }
}
