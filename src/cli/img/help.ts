// What `--help` prints.

import { builtinDrivers } from '../../drivers/index.js'
import { versionText } from '../version.js'

/** The whole help. */
export async function helpText(tool: string): Promise<string> {
  const formats = [...builtinDrivers.map((driver) => driver.name), 'file'].sort().join(' ')
  return `${versionText(tool)}${usage(tool)}\nSupported formats: ${formats}\n`
}

function usage(tool: string): string {
  return `usage: ${tool} [standard options] command [command options]
Disk image utility with the command lines of qemu-img

    -h, --help       show this help and exit
    -V, --version    show the version and exit

Commands:
  amend [--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename
  bench [-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename
  bitmap (--merge source | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap
  check [--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename
  commit [--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] filename
  compare [--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2
  convert [--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [-U] [-C] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-o options] [-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] [-l snapshot_param] [--bitmaps [--skip-broken-bitmaps]] filename [filename2 [...]] output_filename
  create [--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]
  dd [--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output
  info [--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename
  map [--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename
  measure [--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] [-f fmt] [-l snapshot_param] [-U] filename]
  rebase [--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename
  resize [--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size
  snapshot [--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename

  filename        a file, a protocol name such as null-co://, a json:{...} name, or options with --image-opts
  fmt             format of the image; guessed where it is left out (not for new images: those are raw)
  cache           none, writeback (default, except for convert), writethrough, directsync, unsafe (default for convert)
  sizes           bytes, or with a suffix k, M, G, T, P or E (powers of 1024)
  -o options      name=value pairs for a new image, separated by commas; -o help lists them
  -S sparse_size  convert: zeroes in a row that make a hole (default 4k); 0 makes none
  -n              convert: write to an image that exists
  -m, -W          convert: copies in flight (1 to 16, default 8); allow writes out of order
  -p, -q          show progress; print errors only
  --output        human or json
  -r leaks | all  check: repair leaks, or all that can be
  -s              compare: strict, sizes and allocation count
`
}
