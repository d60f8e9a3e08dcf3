import { basename } from 'node:path';
import { SpawnletError } from '../../host/error.ts';
import type { MachineSpec } from '../spec.ts';
import type { GuestFile } from './file.ts';
import type { GuestOs } from './os.ts';
import { GuestRoot } from './root.ts';

/** In the machine: the scripts that are still to run, those that have been begun, and what came of them. */
const directory = '/var/lib/spawnlet-first-boot';

export const firstBootUnit = 'spawnlet-first-boot.service';

/**
 * A script is moved away before it runs, so none runs twice, whatever ends the machine meanwhile. The first that fails, or
 * was cut off, is the last. What came of it is kept beside the unit's own state, which is gone with the boot.
 */
const runner = `# Runs the scripts of the first boot, each once.
cd ${directory} || exit 1
over() {
  rm -f /etc/systemd/system/multi-user.target.wants/${firstBootUnit}
  echo "$*" >result
}
read -r word name <result && [ "$word" = running ] && {
  over failed "$name" 1
  echo "$name was cut off" >&2
  exit 1
}
mkdir -p begun
for script in scripts/*; do
  [ -f "$script" ] || continue
  name=\${script##*/}
  echo "running $name" >result
  mv "$script" "begun/$name" || exit 1
  (cd /root && exec "${directory}/begun/$name") || {
    code=$?
    over failed "$name" "$code"
    echo "$name ended with $code" >&2
    exit "$code"
  }
done
over done
rm -f /etc/systemd/system/${firstBootUnit}
`;

/** Not a oneshot: the machine is up when its services are, and a long script is not the start's to time out. */
const unit = (
  online: boolean,
) => `# Written by spawnlet for the first boot. It removes itself when all scripts have run.
[Unit]
Description=Scripts of the first boot
ConditionDirectoryNotEmpty=${directory}/scripts
${online ? 'Wants=network-online.target\nAfter=network-online.target\n' : ''}
[Service]
Type=exec
RemainAfterExit=yes
WorkingDirectory=/root
Environment=HOME=/root
ExecStart=/bin/sh ${directory}/run
`;

/** `--run`, and the locale where it has to be generated: scripts that the machine's own systemd runs. */
export function firstBootFiles(spec: MachineSpec, os: GuestOs): GuestFile[] {
  const { run, locale } = spec.firstBoot;
  const generates = locale !== undefined && os.locale === 'to-generate';
  if (run.length === 0 && !generates) return [];
  if (os.init !== 'systemd' || spec.start.kind !== 'boot')
    throw new SpawnletError('ERR_GUEST_OS', `nothing in ${spec.name} would run the scripts of a first boot`, {
      hint: 'they need a tree with systemd that is booted; leave --run out',
    });
  const online = spec.network.kind === 'private';
  const number = (index: number) => String(index).padStart(3, '0');
  return [
    { path: directory, directory: true, mode: 0o700 },
    { path: `${directory}/run`, content: runner },
    { path: `${directory}/result`, content: 'pending\n' },
    { path: `${directory}/scripts`, directory: true, mode: 0o700 },
    ...(generates
      ? [
          {
            path: `${directory}/scripts/000-locale-gen`,
            content: '#!/bin/sh\nexec locale-gen\n',
            mode: 0o700,
          },
        ]
      : []),
    ...run.map((source, index) => ({
      path: `${directory}/scripts/${number(index + 1)}-${basename(source).replaceAll(/[^\w.-]/g, '_')}`,
      copyFile: source,
      mode: 0o700,
    })),
    { path: `/etc/systemd/system/${firstBootUnit}`, content: unit(online) },
    {
      path: `/etc/systemd/system/multi-user.target.wants/${firstBootUnit}`,
      link: `/etc/systemd/system/${firstBootUnit}`,
    },
  ];
}

export type FirstBootState =
  /** No scripts were given. */
  | { readonly kind: 'none' }
  | { readonly kind: 'pending' }
  | { readonly kind: 'running'; readonly script: string }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly script: string; readonly code: number };

/** What has come of the scripts, by what they left in the tree, running or not. */
export function firstBootState(root: string): FirstBootState {
  using tree = new GuestRoot(root);
  const [word, script = '', code] = (tree.read(`${directory}/result`)?.text ?? '').trim().split(' ');
  const shown = script.replaceAll(/[^\w.-]/g, '_');
  if (word === 'done') return { kind: 'done' };
  if (word === 'running') return { kind: 'running', script: shown };
  if (word === 'failed') return { kind: 'failed', script: shown, code: Number.parseInt(code ?? '', 10) || 1 };
  return tree.list(`${directory}/scripts`).length > 0 ? { kind: 'pending' } : { kind: 'none' };
}
