// What `--help` prints.

/** The help of the tool called `tool`. */
export function usageText(tool: string): string {
  return `Usage: ${tool} [OPTIONS]... [-c STRING]... [file]
Issues single requests to a disk image, with the commands of qemu-io

  -c, --cmd STRING      a command to run; may be given many times. Without any, commands are read from standard input
  -f, --format FMT      format of the image; guessed where it is left out
      --image-opts      file is a list of options
      --object OBJECT   an object that options may name, such as a secret
  -r, --read-only       open the image for reading only
  -s, --snapshot        write to a temporary overlay
  -n, --nocache         bypass the cache of the host, as -t none does
  -C, --copy-on-read    keep in the image what reads fetch from its backing files
  -m, --misalign        put buffers where direct I/O does not want them
  -k, --native-aio      as -i native
  -i, --aio=MODE        how requests reach the host: threads, native or io_uring
  -t, --cache=MODE      none, writeback, writethrough (default), directsync or unsafe
  -d, --discard=MODE    whether discards reach the image: ignore, or unmap (default)
  -U, --force-share     let others do with the image what they like (with -r)
  -T, --trace PATTERN   accepted; there is nothing to trace
  -h, --help            show this help and exit
  -V, --version         show the version and exit

'${tool} -c help' lists the commands.
`
}
