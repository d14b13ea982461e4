// JSON as the tools print it: four spaces of indentation, and `json:` names with a space behind colons and commas.

/** Pretty-printed `value`, without a final line feed. */
export function prettyJson(value: unknown): string {
  return JSON.stringify(value, undefined, 4)
}

/** A file name for people: a `json:` name is set with spaces, any other stays as it is. */
export function spacedJsonName(filename: string): string {
  if (!filename.startsWith('json:')) return filename
  const parsed: unknown = JSON.parse(filename.slice('json:'.length))
  return `json:${spaced(parsed)}`
}

function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${spaced(inner)}`)
  return `{${entries.join(', ')}}`
}
