// To a server `trace` is a teller of messages, to a device a list of listeners to its events: options name the second `events`.

import type { Trace } from '../../common/trace.js'

/** The options as those of a device. */
export function withEvents<T extends { trace?: unknown; events?: Trace }>(
  options: T,
): Omit<T, 'trace' | 'events'> & { trace?: Trace } {
  const { trace: _messages, events, ...device } = options
  return events === undefined ? device : { ...device, trace: events }
}
