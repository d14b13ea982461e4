// What a call failed with, for tests that look at codes only.

/** The code of the error that `run` throws or rejects with; undefined where it does neither. */
export async function codeOf(run: () => unknown): Promise<string | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}
