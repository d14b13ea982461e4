// Sizes as people write them: 512, 64k, 1.5G, 0x200 (units are powers of 1024).

const UNITS = 'bkmgtpe'

/** The bytes `text` stands for, possibly more than MAX_LENGTH; NaN where it is no size. A fraction needs a unit. */
export function parseSize(text: string): number {
  if (/^0x[0-9a-f]+$/i.test(text)) return Number(text)
  const parts = /^(\d+)(?:\.(\d*))?([bkmgtpe]?)$/i.exec(text)
  if (parts === null) return Number.NaN
  const [, whole = '', fraction = '', unit = ''] = parts
  const factor = 1024 ** Math.max(UNITS.indexOf(unit.toLowerCase()), 0)
  if (Number(fraction) > 0 && factor === 1) return Number.NaN
  return Number(whole) * factor + Math.round(Number(`0.${fraction === '' ? '0' : fraction}`) * factor)
}

/** `bytes` for people: "512 B", "1.5 GiB". Two decimals at most, rounded down so that nothing looks larger than it is. */
export function formatSize(bytes: number): string {
  let unit = 0
  let value = bytes
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  const name = unit === 0 ? 'B' : `${UNITS[unit]?.toUpperCase() ?? ''}iB`
  return `${Math.floor(value * 100) / 100} ${name}`
}
