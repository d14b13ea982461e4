// What a guest runs as process 1: it mounts the kernel's file systems, loads the modules and then does what its console
// says, one line at a time. Each answer ends with a line of its own, so that output without a final newline is no trouble.

/** Printed once, when commands are read. */
export const READY_MARK = '@@ready'
/** Followed by a space, the command's exit status and a newline. */
export const END_MARK = '@@end'

export const INIT_SCRIPT = `#!/bin/busybox sh
export PATH=/programs:/bin HOME=/tmp
mount -t devtmpfs none /dev 2>/dev/null
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /tmp
stty -echo -onlcr
while read -r module; do insmod "/modules/$module"; done < /modules/order
echo '${READY_MARK}'
while read -r line; do
  eval "$line" < /dev/null 2>&1
  printf '\\n${END_MARK} %s\\n' "$?"
done
poweroff -f
`
