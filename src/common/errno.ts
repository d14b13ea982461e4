// errno names and their Linux numbers, the vocabulary of BlockError.code. Numbers appear only at the rim of the library
// (a wire protocol, an exit code); everything inside speaks names.

const NUMBERS = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  EDOM: 33,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  EADDRINUSE: 98,
  ECONNRESET: 104,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EALREADY: 114,
  ESTALE: 116,
  EDQUOT: 122,
  ENOMEDIUM: 123,
  ECANCELED: 125,
} as const

/** The name of an errno code: the contract of an error. */
export type ErrnoName = keyof typeof NUMBERS

const NAMES = new Map<number, ErrnoName>(
  Object.entries(NUMBERS).map(([name, number]) => [number, name as ErrnoName] as const),
)

/** What strerror() says of a code; the command line tools print it. */
const MESSAGES: Partial<Record<ErrnoName, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EIO: 'Input/output error',
  EBADF: 'Bad file descriptor',
  EAGAIN: 'Resource temporarily unavailable',
  ENOMEM: 'Cannot allocate memory',
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENODEV: 'No such device',
  ENOTDIR: 'Not a directory',
  EISDIR: 'Is a directory',
  EINVAL: 'Invalid argument',
  ENFILE: 'Too many open files in system',
  EMFILE: 'Too many open files',
  ETXTBSY: 'Text file busy',
  EFBIG: 'File too large',
  ENOSPC: 'No space left on device',
  ESPIPE: 'Illegal seek',
  EROFS: 'Read-only file system',
  EDEADLK: 'Resource deadlock avoided',
  ERANGE: 'Numerical result out of range',
  ENAMETOOLONG: 'File name too long',
  ELOOP: 'Too many levels of symbolic links',
  ENOTSUP: 'Operation not supported',
  EDQUOT: 'Disk quota exceeded',
  ENOMEDIUM: 'No medium found',
  ECANCELED: 'Operation canceled',
  ETIMEDOUT: 'Connection timed out',
  EADDRINUSE: 'Address already in use',
  ECONNREFUSED: 'Connection refused',
}

/** The Linux number of `name`. */
export function errnoNumber(name: ErrnoName): number {
  return NUMBERS[name]
}

/** The name of a Linux errno number (its sign does not matter); EIO for one this library does not know. */
export function errnoName(number: number): ErrnoName {
  return NAMES.get(Math.abs(number)) ?? 'EIO'
}

/** Whether `text` is a code this library knows. */
export function isErrnoName(text: unknown): text is ErrnoName {
  return typeof text === 'string' && Object.hasOwn(NUMBERS, text)
}

/** The words the C library has for `name`. */
export function errnoMessage(name: ErrnoName): string {
  return MESSAGES[name] ?? name
}
