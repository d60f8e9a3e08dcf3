import type { Recipe } from './recipe.ts';

/** Trees of Fedora, made by dnf on a host of another distribution. */

/** What a machine needs to boot, to be logged in to, and to have a network; passwd(1) has moved between packages. */
const essentials = [
  '/usr/bin/passwd',
  'dnf',
  'fedora-release',
  'iproute',
  'systemd',
  'systemd-networkd',
  'util-linux',
];

const fedoraMirror = 'https://dl.fedoraproject.org/pub/fedora/linux';

/** Where Fedora's keys are if they were installed; Debian has no package of them. */
export const fedoraKeys = ({ keyring }: Pick<Recipe, 'keyring'>, release: string): string =>
  keyring ?? `/usr/share/distribution-gpg-keys/fedora/RPM-GPG-KEY-fedora-${release}-primary`;

/** URLs of the repositories of a release: those of a mirror, or the one that is named with dnf's variables in it. */
function fedoraRepositories(mirror: string, release: string): readonly string[] {
  if (/\$(releasever|basearch)/.test(mirror)) return [mirror];
  if (release === 'rawhide') return [`${mirror}/development/rawhide/Everything/$basearch/os/`];
  return [
    `${mirror}/releases/$releasever/Everything/$basearch/os/`,
    `${mirror}/updates/$releasever/Everything/$basearch/`,
  ];
}

/** dnf.conf(5) for the build alone, with nothing of the host's; the tree gets the one of its own package. */
export function dnfSettings(recipe: Recipe, release: string): string {
  const { mirror = fedoraMirror, insecure } = recipe;
  const options = [
    '[main]',
    'reposdir=/dev/null',
    'plugins=False',
    `gpgcheck=${insecure ? 'False' : 'True'}`,
    'best=True',
    'skip_if_unavailable=False',
    'install_weak_deps=False',
    'tsflags=nodocs',
  ];
  const parts = fedoraRepositories(mirror, release).map((url, at) =>
    [
      `\n[fedora-${at}]`,
      `name=fedora-${at}`,
      `baseurl=${url}`,
      ...(insecure ? [] : [`gpgkey=file://${fedoraKeys(recipe, release)}`]),
    ].join('\n'),
  );
  return `${[...options, ...parts].join('\n')}\n`;
}

/**
 * rpm's macros for the build: the database is where Fedora's own rpm looks for it, which Debian's has in a home directory. What is
 * mounted for the scripts of packages is left as it is.
 */
export const rpmMacros = '%_dbpath /usr/lib/sysimage/rpm\n%_netsharedpath /dev:/proc\n';

/**
 * dnf with what scripts of packages need in the tree: mounted in the namespace of the build, and gone with it. Its home is where
 * rpm looks for {@link rpmMacros}, in `.rpmmacros`.
 */
export function withScripts(argv: readonly string[], root: string, home: string): string[] {
  const script = `export HOME="$2"
cd "$1"
mkdir -p dev proc
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for name in full null random tty urandom zero; do
  touch dev/$name
  mount --bind /dev/$name dev/$name
done
ln -s /proc/self/fd dev/fd
shift 2
exec "$@"`;
  return ['sh', '-euc', script, 'sh', root, home, ...argv];
}

/** The command that installs a release into `root`, by {@link dnfSettings} in the file `settings`. */
export function dnfArgv(recipe: Recipe, release: string, root: string, settings: string): string[] {
  return [
    'dnf',
    '--quiet',
    '--assumeyes',
    `--config=${settings}`,
    `--installroot=${root}`,
    `--releasever=${release}`,
    'install',
    ...essentials,
    ...recipe.packages,
  ];
}

/** What dnf has written into the tree for itself. */
export const dnfLeavings = [
  '/var/cache/dnf',
  '/var/log/dnf.log',
  '/var/log/dnf.librepo.log',
  '/var/log/dnf.rpm.log',
  '/var/log/hawkey.log',
];
