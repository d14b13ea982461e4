// Options as getopt_long of the GNU C library reads them, one after the other and with its messages: for command lines
// whose errors name the very letter, and whose options take effect (or fail) in the order they were given.

/** A long option and the letter (or word) it stands for. */
export interface LongOption {
  readonly name: string
  readonly option: string
  readonly hasArgument?: boolean
}

/** What a command line may hold. */
export interface OptionTable {
  /** Letters; one that takes an argument has a colon behind it. */
  readonly short: string
  readonly long?: readonly LongOption[]
}

/** Takes an option; `argument` is empty for one without. False ends the reading: what follows is not looked at. */
export type TakeOption = (option: string, argument: string) => boolean

/** A command line that does not follow its table; the message lacks the program's name. */
export class GetoptError extends Error {}

/**
 * Hands every option of `args` to `take`, in order, and gives what is left: options and operands may be mixed, and behind
 * `--` everything is an operand. Throws a {@link GetoptError}.
 */
export function getopt(args: readonly string[], table: OptionTable, take: TakeOption): string[] {
  const operands: string[] = []
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? ''
    if (word === '--') return [...operands, ...args.slice(at + 1)]
    if (word === '-' || !word.startsWith('-')) {
      operands.push(word)
      continue
    }
    const next = args[at + 1]
    const read = word.startsWith('--') ? readLong(word, next, table, take) : readShort(word, next, table, take)
    if (read === 'end') return operands
    if (read === 'used-next') at += 1
  }
  return operands
}

/** How far an option went: it took the next word as its argument, or nothing after it is looked at. */
type Read = 'word' | 'used-next' | 'end'

/** Reads a cluster such as `-rf`. */
function readShort(word: string, next: string | undefined, { short }: OptionTable, take: TakeOption): Read {
  for (let at = 1; at < word.length; at++) {
    const letter = word[at] ?? ''
    const index = letter === ':' ? -1 : short.indexOf(letter)
    if (index < 0) throw new GetoptError(`invalid option -- '${letter}'`)
    if (short[index + 1] !== ':') {
      if (!take(letter, '')) return 'end'
      continue
    }
    const rest = word.slice(at + 1)
    const argument = rest === '' ? next : rest
    if (argument === undefined) throw new GetoptError(`option requires an argument -- '${letter}'`)
    if (!take(letter, argument)) return 'end'
    return rest === '' ? 'used-next' : 'word'
  }
  return 'word'
}

/** Reads `--name`, `--name=argument` or an unambiguous beginning of a name. */
function readLong(word: string, next: string | undefined, { long = [] }: OptionTable, take: TakeOption): Read {
  const equals = word.indexOf('=')
  const given = word.slice(2, equals < 0 ? undefined : equals)
  const found = findLong(given, word, long)
  const said = `option '--${found.name}'`
  if (found.hasArgument !== true) {
    if (equals >= 0) throw new GetoptError(`${said} doesn't allow an argument`)
    return take(found.option, '') ? 'word' : 'end'
  }
  const argument = equals < 0 ? next : word.slice(equals + 1)
  if (argument === undefined) throw new GetoptError(`${said} requires an argument`)
  if (!take(found.option, argument)) return 'end'
  return equals < 0 ? 'used-next' : 'word'
}

function findLong(given: string, word: string, long: readonly LongOption[]): LongOption {
  const exact = long.find(({ name }) => name === given)
  if (exact !== undefined) return exact
  const candidates = long.filter(({ name }) => name.startsWith(given))
  const [first, ...others] = candidates
  if (first === undefined) throw new GetoptError(`unrecognized option '${word}'`)
  if (others.length === 0) return first
  const names = candidates.map(({ name }) => `'--${name}'`).join(' ')
  throw new GetoptError(`option '${word}' is ambiguous; possibilities: ${names}`)
}
