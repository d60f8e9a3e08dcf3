import { readFile } from 'node:fs/promises';
import { debianTar } from './debian-tar.ts';
import { makeImage, type TestImage } from './images.ts';
import type { TarEntry } from './tar.ts';

export interface NginxOptions {
  /** Debian's suite that the packages come from; `bookworm` if not given. */
  readonly suite?: string;
  /** The page that it serves. */
  readonly page?: string;
}

const packages = ['base-files', 'base-passwd', 'coreutils', 'dash', 'libc-bin', 'nginx-light'];

const configuration = `user www-data;
worker_processes 2;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /var/log/nginx/access.log;
  server {
    listen 80;
    root /usr/share/nginx/html;
  }
}
`;

const passwd = `root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`;

const group = `root:x:0:
www-data:x:33:
nogroup:x:65534:
`;

const page = '<!doctype html><title>nginx</title><h1>Served by nginx, run by systemd</h1>\n';

/**
 * nginx from Debian's packages, put together like the official image: an entrypoint script, logs that are links to
 * /dev/stdout and /dev/stderr, SIGQUIT to stop. Built once in `cache`, which takes about 20 s and a Debian mirror.
 */
export async function nginxImage(cache: string, options: NginxOptions = {}): Promise<TestImage> {
  const base = await readFile(await debianTar(cache, { suite: options.suite ?? 'bookworm', packages }));
  const own: TarEntry[] = [
    { path: 'docker-entrypoint.sh', content: '#!/bin/sh\nset -e\nexec "$@"\n', mode: 0o755 },
    { path: 'etc/nginx/nginx.conf', content: configuration },
    { path: 'etc/passwd', content: passwd },
    { path: 'etc/group', content: group },
    { path: 'usr/share/nginx/html/index.html', content: options.page ?? page },
    { path: 'var/lib/nginx', directory: true },
    { path: 'var/log/nginx/access.log', symlink: '/dev/stdout' },
    { path: 'var/log/nginx/error.log', symlink: '/dev/stderr' },
  ];
  return makeImage({
    layers: [base, own],
    config: {
      Entrypoint: ['/docker-entrypoint.sh'],
      Cmd: ['nginx', '-g', 'daemon off;'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      ExposedPorts: { '80/tcp': {} },
      StopSignal: 'SIGQUIT',
      Labels: { maintainer: 'spawnlet tests' },
    },
  });
}
