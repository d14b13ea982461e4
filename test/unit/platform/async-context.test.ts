import { describe, expect, it } from 'vitest'
import type { AsyncContext } from '../../../src/common/context-tracker.js'
import { createContextTracker } from '../../../src/platform/async-context.js'

describe('the context tracker', () => {
  it('follows what a function started, and nothing else', async () => {
    const tracker = createContextTracker()
    const outer: AsyncContext = { kind: 'section', subject: {}, outer: undefined }
    const inner: AsyncContext = { kind: 'request', subject: {}, outer }
    const seen: (AsyncContext | undefined)[] = []
    await tracker.run(outer, async () => {
      seen.push(tracker.current())
      await tracker.run(inner, async () => {
        await new Promise((resolve) => setImmediate(resolve))
        seen.push(tracker.current())
      })
      seen.push(tracker.current())
    })
    seen.push(tracker.current())
    expect(seen).toEqual([outer, inner, outer, undefined])
    expect(createContextTracker().current()).toBeUndefined()
  })
})
