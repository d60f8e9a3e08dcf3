/** Debian packages made on the spot, in an archive of this machine's own that apt reads without a network. */
import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { check, systemChildren } from '../../src/host/child.ts';

export interface DebPackage {
  readonly name: string;
  readonly version?: string;
  readonly depends?: string;
  /** If it is not its own. */
  readonly source?: string;
  /** By path; programs have mode 0755. */
  readonly files?: Readonly<Record<string, string>>;
  /** Of its service, which is enabled and started as debhelper has it. */
  readonly unit?: string;
  /** Lines of a shell, at the end of its configuration. */
  readonly postinst?: string;
}

const isProgram = (path: string) => /\/(?:bin|sbin|DEBIAN)\//.test(path) && !path.endsWith('/control');

/** What debhelper makes of a package with a service. */
const starts = (unit: string) => `if [ "$1" = configure ]; then
  deb-systemd-helper unmask ${unit} >/dev/null || true
  if deb-systemd-helper --quiet was-enabled ${unit}; then deb-systemd-helper enable ${unit} >/dev/null || true; fi
  if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
    deb-systemd-invoke start ${unit} >/dev/null || true
  fi
fi
`;

/** Makes the file of a package. */
export async function makeDeb(directory: string, of: DebPackage): Promise<string> {
  const { name, version = '1.0', depends, source, files = {}, unit, postinst = '' } = of;
  const tree = join(directory, `${name}.tree`);
  const service = `${name}.service`;
  const fields = [
    `Package: ${name}`,
    `Version: ${version}`,
    'Architecture: all',
    'Maintainer: tests <tests@example.com>',
    ...(depends ? [`Depends: ${depends}`] : []),
    ...(source ? [`Source: ${source}`] : []),
    'Description: a package of a test',
  ];
  const all: Record<string, string> = {
    ...files,
    '/DEBIAN/control': `${fields.join('\n')}\n`,
    '/DEBIAN/postinst': `#!/bin/sh\nset -e\n${unit ? starts(service) : ''}${postinst}\n`,
    ...(unit && { [`/lib/systemd/system/${service}`]: unit }),
  };
  for (const [path, text] of Object.entries(all)) {
    await mkdir(join(tree, dirname(path)), { recursive: true });
    await writeFile(join(tree, path), text);
    await chmod(join(tree, path), isProgram(path) ? 0o755 : 0o644);
  }
  const file = join(directory, `${name}_${version}_all.deb`);
  await check(systemChildren, ['dpkg-deb', '--root-owner-group', '-Znone', '--build', tree, file]);
  await rm(tree, { recursive: true });
  return file;
}

/** Makes an archive of packages the only one that apt knows of. Its lists are read by the next `apt-get update`. */
export async function useDebArchive(directory: string, packages: readonly DebPackage[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  const entries: string[] = [];
  for (const each of packages) {
    const file = await makeDeb(directory, each);
    const bytes = await readFile(file);
    const fields = (await check(systemChildren, ['dpkg-deb', '--field', file])).toString().trimEnd();
    const sum = createHash('sha256').update(bytes).digest('hex');
    entries.push(
      `${fields}\nFilename: ./${file.slice(directory.length + 1)}\nSize: ${bytes.length}\nSHA256: ${sum}\n`,
    );
  }
  await writeFile(join(directory, 'Packages'), entries.join('\n'));
  await rm('/etc/apt/sources.list.d', { recursive: true, force: true });
  await writeFile('/etc/apt/sources.list', `deb [trusted=yes] file:${directory} ./\n`);
}
