import { statfsSync } from 'node:fs';

/** CGROUP2_SUPER_MAGIC of linux/magic.h. */
const cgroup2 = 0x63677270;

/** What this host's cgroups are. With 1 the controllers are in trees of their own, also where a tree of version 2 is beside them. */
export type CgroupVersion = 1 | 2;

export const cgroupVersion = (): CgroupVersion => (statfsSync('/sys/fs/cgroup').type === cgroup2 ? 2 : 1);
