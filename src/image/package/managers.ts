/** Package managers: which commands each has for the same few jobs. Nothing here runs them. */

export interface PackageManager {
  readonly name: 'apt' | 'dnf' | 'zypper' | 'pacman';
  /** What files of its packages end in. */
  readonly suffix: string;
  /** Prints the version of an installed package, or fails. */
  installed(name: string): readonly string[];
  /** Prints the files of an installed package, one a line. */
  files(name: string): readonly string[];
  /** Prints name and version of a package in a file, with a space between. */
  described(file: string): readonly string[];
  /** Brings the lists of what there is up to date. */
  readonly refresh: readonly string[];
  /** Fails if it does not know of such a package: its lists may be old. Undefined: it looks by itself. */
  known?(name: string, version: string | undefined): readonly string[];
  /** Asks nothing. */
  install(name: string, version: string | undefined): readonly string[];
  installFile(file: string): readonly string[];
  /** Ends what a killed run of it has begun. */
  readonly repair: readonly string[];
}

const rpm = {
  suffix: '.rpm',
  installed: (name: string) => ['rpm', '--query', '--queryformat', '%{EVR}\\n', name],
  files: (name: string) => ['rpm', '--query', '--list', name],
  described: (file: string) => ['rpm', '--query', '--package', '--queryformat', '%{NAME} %{EVR}\\n', file],
};

const pinned = (name: string, separator: string, version: string | undefined) =>
  version === undefined ? name : `${name}${separator}${version}`;

/** Configuration that was changed by hand stays; somebody else's run of apt is waited for. */
const aptGet = [
  'apt-get',
  '--quiet',
  '--assume-yes',
  '--no-install-recommends',
  '--option=Dpkg::Use-Pty=0',
  '--option=Dpkg::Options::=--force-confdef',
  '--option=Dpkg::Options::=--force-confold',
  '--option=DPkg::Lock::Timeout=600',
];

const dnf = ['dnf', '--quiet', '--assumeyes', '--setopt=install_weak_deps=False'];
const zypper = ['zypper', '--quiet', '--non-interactive'];
const pacman = ['pacman', '--noconfirm', '--needed', '--noprogressbar'];

export const managers: Readonly<Record<PackageManager['name'], PackageManager>> = {
  apt: {
    name: 'apt',
    suffix: '.deb',
    // A package that was removed, or is half there, has a version, too.
    installed: name => ['dpkg-query', '--show', '--showformat=${db:Status-Status} ${Version}\\n', name],
    files: name => ['dpkg-query', '--listfiles', name],
    described: file => ['dpkg-deb', '--show', '--showformat=${Package} ${Version}\\n', file],
    refresh: ['apt-get', '--quiet', 'update'],
    known: (name, version) => ['apt-get', '--quiet', '--simulate', 'install', pinned(name, '=', version)],
    install: (name, version) => [...aptGet, 'install', pinned(name, '=', version)],
    installFile: file => [...aptGet, 'install', file],
    repair: ['dpkg', '--configure', '-a', '--force-confdef', '--force-confold'],
  },
  dnf: {
    name: 'dnf',
    ...rpm,
    refresh: [...dnf, 'makecache'],
    install: (name, version) => [...dnf, 'install', pinned(name, '-', version)],
    installFile: file => [...dnf, 'install', file],
    repair: ['rpm', '--rebuilddb'],
  },
  zypper: {
    name: 'zypper',
    ...rpm,
    refresh: [...zypper, 'refresh'],
    install: (name, version) => [...zypper, 'install', '--no-recommends', pinned(name, '=', version)],
    installFile: file => [...zypper, 'install', '--no-recommends', '--allow-unsigned-rpm', file],
    repair: ['rpm', '--rebuilddb'],
  },
  pacman: {
    name: 'pacman',
    suffix: '.pkg.tar.zst',
    installed: name => ['pacman', '--query', name],
    files: name => ['pacman', '--query', '--list', '--quiet', name],
    described: file => ['pacman', '--query', '--file', file],
    refresh: [...pacman, '--sync', '--refresh'],
    // Its archives have one version of a package.
    install: name => [...pacman, '--sync', name],
    installFile: file => [...pacman, '--upgrade', file],
    repair: ['rm', '--force', '/var/lib/pacman/db.lck'],
  },
};

/** The version in what {@link PackageManager.installed} printed; undefined if the package is not wholly there. */
export function versionIn(manager: PackageManager, printed: string): string | undefined {
  const words = printed.trim().split(/\s+/);
  if (manager.name === 'apt') return words[0] === 'installed' ? words[1] : undefined;
  return (manager.name === 'pacman' ? words[1] : words[0]) || undefined;
}

const families: Readonly<Record<string, PackageManager['name']>> = {
  debian: 'apt',
  ubuntu: 'apt',
  fedora: 'dnf',
  rhel: 'dnf',
  centos: 'dnf',
  suse: 'zypper',
  opensuse: 'zypper',
  sles: 'zypper',
  arch: 'pacman',
};

/** A value of os-release(5); whole lines count, so that `VERSION_ID=` is not taken for `ID=`. */
function osField(text: string, key: string): string {
  const value = new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1] ?? '';
  return value.trim().replace(/^(["'])(.*)\1$/, '$2');
}

/** The manager of a distribution, by the text of its /etc/os-release: its own name, else those that it is like. */
export function managerOf(osRelease: string): PackageManager | undefined {
  const names = [osField(osRelease, 'ID'), ...osField(osRelease, 'ID_LIKE').split(/\s+/)];
  const found = names.map(name => families[name] ?? families[name.replace(/-.*$/, '')]).find(Boolean);
  return found && managers[found];
}

/** Files that are units of services, templates not among them; that of the package's own name first. */
export function serviceFiles(name: string, files: readonly string[]): string[] {
  const units = files.filter(path => /^\/(?:usr\/)?lib\/systemd\/system\/[^/@]+\.service$/.test(path));
  const own = (path: string) => (path.endsWith(`/${name}.service`) ? 0 : 1);
  return units.toSorted((a, b) => own(a) - own(b));
}
