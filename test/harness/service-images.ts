import { readFile } from 'node:fs/promises';
import { debianTar } from './debian-tar.ts';
import { makeImage, type TestImage } from './images.ts';

const packages = [
  'apache2-bin',
  'base-files',
  'base-passwd',
  'bash',
  'coreutils',
  'dash',
  'nginx-light',
  'postgresql-15',
  'procps',
  'prometheus-node-exporter',
  'python3',
  'redis-server',
];

/** Nobody compiles at run time here, and nobody reads other languages: a third of the bytes. */
const without = [
  'lib/llvm-*',
  'lib/*/libLLVM*',
  'lib/*/libz3*',
  'lib/*/perl/5*',
  'lib/postgresql/*/lib/bitcode/*',
  'lib/postgresql/*/lib/llvmjit*',
  'share/i18n/*',
  'share/perl/*',
];

export const users = { www: 33, postgres: 70, redis: 71, nobody: 65534 } as const;

const passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:${users.www}:${users.www}:www-data:/var/www:/usr/sbin/nologin
postgres:x:${users.postgres}:${users.postgres}:PostgreSQL:/var/lib/postgresql:/bin/sh
redis:x:${users.redis}:${users.redis}::/var/lib/redis:/usr/sbin/nologin
nobody:x:${users.nobody}:${users.nobody}:nobody:/nonexistent:/usr/sbin/nologin
`;

const group = `root:x:0:
www-data:x:${users.www}:
postgres:x:${users.postgres}:
redis:x:${users.redis}:
nogroup:x:${users.nobody}:
`;

/**
 * One image with servers of Debian 12: nginx, Apache, PostgreSQL 15, Redis, Prometheus' exporter of nodes, and Python. Its
 * layer of 200 MB is made once and kept in `/var/cache/spawnlet-test`.
 */
export async function serviceImage(): Promise<TestImage> {
  const tar = await debianTar('/var/cache/spawnlet-test/layers', { suite: 'bookworm', packages, without });
  return makeImage({
    layers: [
      await readFile(tar),
      [
        { path: 'etc/passwd', content: passwd },
        { path: 'etc/group', content: group },
      ],
    ],
    config: {
      Env: ['PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    },
    compression: 'none',
  });
}
