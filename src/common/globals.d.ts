// Exactly the globals that universal code may use: what Node 20, browsers and workers all have.

declare const performance: { now(): number }
declare function setTimeout(callback: () => void, ms: number): unknown
declare function clearTimeout(handle: unknown): void
declare function queueMicrotask(callback: () => void): void

interface AbortSignalEventMap {
  abort: unknown
}

interface AbortSignal {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

declare class AbortController {
  readonly signal: AbortSignal
  abort(reason?: unknown): void
}

interface MessagePort {
  onmessage: ((event: unknown) => void) | null
  postMessage(message: unknown): void
  close(): void
}

declare class MessageChannel {
  readonly port1: MessagePort
  readonly port2: MessagePort
}

declare class TextEncoder {
  encode(text: string): Uint8Array
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean })
  decode(bytes: Uint8Array): string
}

interface ReadableByteStreamController {
  readonly byobRequest: { readonly view: Uint8Array | null; respond(bytes: number): void } | null
  readonly desiredSize: number | null
  enqueue(chunk: Uint8Array): void
  close(): void
}

interface UnderlyingByteSource {
  type: 'bytes'
  autoAllocateChunkSize?: number
  pull(controller: ReadableByteStreamController): Promise<void>
  cancel?(): void
}

declare class ReadableStream<R = Uint8Array> {
  constructor(source: UnderlyingByteSource, strategy?: { highWaterMark?: number })
  readonly locked: boolean
  cancel(reason?: unknown): Promise<void>
  getReader(): { read(): Promise<{ done: boolean; value?: R }>; releaseLock(): void }
}

interface UnderlyingSink<W> {
  write(chunk: W): Promise<void>
  close?(): Promise<void>
  abort?(reason: unknown): void
}

declare class WritableStream<W = Uint8Array> {
  constructor(sink: UnderlyingSink<W>)
  readonly locked: boolean
  abort(reason?: unknown): Promise<void>
  close(): Promise<void>
  getWriter(): { write(chunk: W): Promise<void>; close(): Promise<void>; releaseLock(): void }
}
