// What a host gives for sharing memory and events with another process: Unix sockets that carry descriptors, mappings,
// events. Types only; handed in, so that exports need no host and tests can own them. No call waits: what would have to
// says so by undefined. Errors are BlockErrors with the code of the host.

/** Calls a handler whenever something can be done with a descriptor, until it is closed. */
export interface Watch {
  /** To be called before the descriptor is closed. */
  close(): void
}

/** What is known of an open file. */
export interface DescriptorInfo {
  /** In bytes; meaningful for memory and regular files. */
  readonly size: number
  /** Memory or a regular file: it can be mapped, and nobody can wait for it. */
  readonly isFile: boolean
  /** Nobody can make it shorter: it is sealed. */
  readonly cannotShrink: boolean
}

/** Memory of another process, or shared with one. */
export interface SharedMapping {
  readonly bytes: number
  /** A buffer over `bytes` bytes from `start`. Each is made anew; at most 2 GiB. */
  view(start: number, bytes: number): ArrayBuffer
  /** Ends it. Views that are left read and write memory that belongs to nobody. */
  unmap(): void
}

/** Sockets, memory and events between processes of one host. Descriptors are numbers, and whoever has one closes it. */
export interface HostIpc {
  /** A socket at `path`, in the place of one that nobody listens on any more. EADDRINUSE where somebody does. */
  listen(path: string): number
  /** The next connection; undefined where there is none. */
  accept(listener: number): number | undefined
  connect(path: string): number
  /** Two sockets connected to each other. */
  socketPair(): [number, number]
  /**
   * Reads up to the length of `into`, and appends the descriptors that came with it. 0 at the end of the stream, undefined
   * where nothing is there.
   */
  receive(socket: number, into: Uint8Array, descriptors: number[]): number | undefined
  /** Writes what there is room for; the descriptors go with the first byte. Undefined where there is no room. */
  send(socket: number, data: Uint8Array, descriptors: readonly number[]): number | undefined

  /** Throws EPERM for a descriptor that nobody can wait for, such as a file. Keeps the process alive. */
  watch(fd: number, what: 'readable' | 'writable', handler: () => void): Watch

  describe(fd: number): DescriptorInfo
  /** Maps `bytes` bytes from `offset`, to read and write. Neither has to be a multiple of anything. */
  map(fd: number, offset: number, bytes: number): SharedMapping
  /** Memory of `bytes` bytes, zero, sealed against any other length. */
  createMemory(name: string, bytes: number): number

  createEvent(): number
  /** Makes calls on the descriptor return at once, for all who share it. */
  setNonBlocking(fd: number): void
  /** Signals an event. Also right for a pipe; one that is full has been signalled. */
  signal(fd: number): void
  /** Takes the signals of an event, or of a pipe. False where there were none; throws EPIPE at the end of a pipe. */
  takeSignals(fd: number): boolean

  close(fd: number): void
}
