import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Executor } from '../host/step.ts';
import { mmdebstrapArgv, packageMissing, runBuilder } from '../image/tree/bootstrap.ts';
import { labDirectory } from '../names.ts';
import type { LabSpec, Suite } from './spec.ts';

/** Everything that a tree's content follows from: another value is another tree. */
export interface Recipe {
  readonly suite: Suite;
  readonly architecture: string;
  readonly packages: readonly string[];
  /** Paths in the tree and what is written there. */
  readonly files: Readonly<Record<string, string>>;
  /** Paths in the tree and where the symbolic link there leads. */
  readonly links: Readonly<Record<string, string>>;
}

export interface BuildTree {
  readonly do: 'build-tree';
  readonly path: string;
  readonly recipe: Recipe;
}

const basePackages = [
  'conmon',
  'crun',
  'dbus',
  'dnsmasq-base',
  'golang-github-containers-common',
  'iproute2',
  'iputils-ping',
  // For systemctl edit.
  'nano',
  'nftables',
  'procps',
  'systemd',
  'systemd-container',
  'systemd-sysv',
];

const unit = (name: string) => `/etc/systemd/system/${name}`;
const shipped = (name: string) => `/lib/systemd/system/${name}`;

/**
 * Not for a guest of another kernel's owner: these would write the host's settings (sysctl), load its modules, show
 * its debug files, or talk on a console that is not there.
 */
const masked = [
  'console-getty.service',
  'dev-hugepages.mount',
  'modprobe@.service',
  'sys-kernel-debug.mount',
  'sys-kernel-tracing.mount',
  'systemd-modules-load.service',
  'systemd-sysctl.service',
  'systemd-timesyncd.service',
];

/** Where a lab tells its host how it is; a directory of the lab's own, bound in. */
export const shareTarget = '/run/spawnlet-lab';

const readyUnit = `[Unit]
Description=Tell the host that this lab has booted
Wants=network-online.target
After=multi-user.target network-online.target

[Service]
ExecStart=/bin/sh -c 'systemctl is-system-running --wait >${shareTarget}/ready~; mv ${shareTarget}/ready~ ${shareTarget}/ready'
`;

const journald = `[Journal]
# The kernel's messages are the host's.
ReadKMsg=no
Storage=persistent
`;

/** What a lab's tree is built from. */
export function recipeOf(spec: Pick<LabSpec, 'suite' | 'packages'>, architecture: string): Recipe {
  const links: Record<string, string> = {
    [unit('default.target')]: shipped('multi-user.target'),
    [unit('multi-user.target.wants/systemd-networkd.service')]: shipped('systemd-networkd.service'),
    [unit('network-online.target.wants/systemd-networkd-wait-online.service')]: shipped(
      'systemd-networkd-wait-online.service',
    ),
    [unit('multi-user.target.wants/spawnlet-lab-ready.service')]: unit('spawnlet-lab-ready.service'),
  };
  for (const name of masked) links[unit(name)] = '/dev/null';
  return {
    suite: spec.suite,
    architecture,
    packages: [...new Set([...basePackages, ...spec.packages])].sort(),
    files: {
      [unit('spawnlet-lab-ready.service')]: readyUnit,
      '/etc/systemd/journald.conf.d/lab.conf': journald,
    },
    links,
  };
}

export const treesDirectory = join(labDirectory, 'trees');

/** The directory of a recipe's tree; `root` and `recipe.json` lie in it. */
export function treePath(recipe: Recipe): string {
  const digest = createHash('sha256').update(JSON.stringify(recipe)).digest('hex');
  return join(treesDirectory, digest.slice(0, 12));
}

/** What makes the tree: without documentation, of which a lab has no reader. */
export function builderArgv(recipe: Recipe, root: string): string[] {
  const left = ['doc/*', 'man/*', 'locale/*', 'info/*'];
  const flags = [
    '--aptopt=APT::Install-Recommends "false"',
    ...left.map(path => `--dpkgopt=path-exclude=/usr/share/${path}`),
  ];
  return mmdebstrapArgv({ suite: recipe.suite, packages: recipe.packages, flags }, root);
}

function failed(suite: Suite, code: number, said: string): SpawnletError {
  const missing = packageMissing(said);
  if (missing !== undefined)
    return new SpawnletError('ERR_LAB_TREE', `${suite} has no package ${missing}`, {
      hint: `is it spelled right in --packages? https://packages.debian.org/${suite}/ lists them`,
    });
  return new SpawnletError('ERR_LAB_TREE', `mmdebstrap ended with ${code}:\n${said.slice(-2000)}`, {
    hint: 'it needs a Debian mirror within reach: try mmdebstrap bookworm /dev/null',
  });
}

/** Executor of `build-tree`. Builders of one tree wait for each other; the second finds it there. */
export function buildTreeExecutor(host: Host): Executor<BuildTree> {
  const { files, children, locks } = host;
  const done = async (step: BuildTree) => (await files.look(step.path)) !== undefined;
  return {
    describe: step => `build a ${step.recipe.suite} tree in ${step.path} (mmdebstrap, about a minute, once)`,
    body: step => `packages: ${step.recipe.packages.join(' ')}`,
    satisfied: done,
    apply: async (step, signal) => {
      await using _lock = await locks.wait(
        `lab-tree-${step.path.slice(step.path.lastIndexOf('/') + 1)}`,
        signal,
      );
      if (await done(step)) return;
      const building = `${step.path}.building`;
      const root = join(building, 'root');
      await files.remove(building);
      await files.makeDirectory(building, 0o700);
      try {
        const { suite } = step.recipe;
        const argv = builderArgv(step.recipe, root);
        await runBuilder(
          children,
          argv,
          (code, said) => failed(suite, code, said),
          () => undefined,
          signal,
        );
        for (const [path, content] of Object.entries(step.recipe.files)) {
          await files.makeDirectory(join(root, path, '..'), 0o755);
          await files.write(join(root, path), content, 0o644);
        }
        for (const [path, target] of Object.entries(step.recipe.links)) {
          await files.makeDirectory(join(root, path, '..'), 0o755);
          await files.link(join(root, path), target);
        }
        await files.write(join(building, 'recipe.json'), `${JSON.stringify(step.recipe, null, 2)}\n`, 0o644);
        await files.move(building, step.path);
      } catch (error) {
        await files.remove(building);
        throw error;
      }
    },
  };
}
