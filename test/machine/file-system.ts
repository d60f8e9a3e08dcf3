/** Another file system below what machines are made of, in a lab: in a file, so that it goes with the lab however that ends. */
import { system } from '../app/tools.ts';

/** A mount by `-o loop` has the kernel let go of the device when it is gone. */
const mount = `umask 022
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for number in $(seq 0 31); do [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number; done
mkdir -p /run/disk
if [ "$1" = tmpfs ]; then mount -t tmpfs -o mode=755 tmpfs /run/disk; else
  truncate -s 8G /var/lib/containers/disk
  mkfs.$1 -q /var/lib/containers/disk
  mount -o loop /var/lib/containers/disk /run/disk
fi
for name in machines spawnlet; do
  mkdir -m 700 /run/disk/$name
  mount --bind /run/disk/$name /var/lib/$name
done`;

const unmount = `umount /var/lib/machines /var/lib/spawnlet /run/disk
rmdir /run/disk
rm -f /var/lib/containers/disk`;

/** `/var/lib/machines` and `/var/lib/spawnlet` are on it, and empty. On tmpfs no overlay that is unmounted waits for a disk. */
export async function useFileSystem(kind: 'btrfs' | 'xfs' | 'tmpfs'): Promise<AsyncDisposable> {
  await system('sh', '-euc', mount, 'sh', kind);
  return {
    async [Symbol.asyncDispose]() {
      await system('sh', '-euc', unmount);
    },
  };
}
