/** Another file system below what lies in /var/lib, in a lab: in a file, so that it goes with the lab however that ends. */
import { system } from '../app/tools.ts';

/** A mount by `-o loop` has the kernel let go of the device when it is gone. */
const mount = `umask 022
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for number in $(seq 0 31); do [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number; done
mkdir -p /run/disk
kind=$1
shift
if [ $kind = tmpfs ]; then mount -t tmpfs -o mode=755 tmpfs /run/disk; else
  truncate -s 32G /var/lib/docker/disk
  mkfs.$kind -q /var/lib/docker/disk
  mount -o loop /var/lib/docker/disk /run/disk
fi
for name; do
  mkdir -m 700 /run/disk/$name
  mount --bind /run/disk/$name /var/lib/$name
done`;

const unmount = `for name; do umount --recursive /var/lib/$name; done
umount /run/disk
rmdir /run/disk
rm -f /var/lib/docker/disk`;

/** Directories of /var/lib are on it, and empty. On tmpfs no overlay that is unmounted waits for a disk. */
export async function useFileSystem(
  kind: 'btrfs' | 'ext4' | 'tmpfs',
  directories: readonly string[] = ['machines', 'spawnlet'],
): Promise<AsyncDisposable> {
  await system('sh', '-euc', mount, 'sh', kind, ...directories);
  return {
    async [Symbol.asyncDispose]() {
      await system('sh', '-euc', unmount, 'sh', ...directories);
    },
  };
}
