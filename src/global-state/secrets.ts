// Secrets of a graph by id: passwords of encrypted images. They are handed to drivers that are named them and shown to nobody.

import { BlockError, quoteOutside } from '../common/error.js'

/** The secrets of a graph. What it holds shows in no inspection and no JSON. */
export class SecretStore {
  readonly #secrets = new Map<string, Uint8Array>()

  /** Keeps a copy of `data` under `id`. EEXIST where the id is taken. */
  define(id: string, data: Uint8Array): void {
    if (this.#secrets.has(id)) throw new BlockError('EEXIST', `there is a secret with id ${quoteOutside(id)} already`)
    this.#secrets.set(id, Uint8Array.from(data))
  }

  /** Forgets a secret, its bytes overwritten; false where there is none. Images that are open stay so. */
  delete(id: string): boolean {
    this.#secrets.get(id)?.fill(0)
    return this.#secrets.delete(id)
  }

  /** A copy of the secret called `id`, which its user may overwrite. EINVAL where there is none. */
  lookup(id: string): Uint8Array {
    const data = this.#secrets.get(id)
    if (data === undefined) throw new BlockError('EINVAL', `No secret with id ${quoteOutside(id)}`, { op: 'secret' })
    return Uint8Array.from(data)
  }
}
