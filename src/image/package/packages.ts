import { createHash } from 'node:crypto';
import { SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { packagesDirectory, packagesRuntimeDirectory, packageUnit } from '../../names.ts';
import type { SystemdClient } from '../../systemd/client.ts';
import { fetchFile, sha256Of } from '../tree/fetch.ts';
import { type PackageImage, requireChecksum } from './image.ts';
import { managerOf, type PackageManager, serviceFiles, versionIn } from './managers.ts';
import { endedScript, hookScript, type Install, installScript } from './script.ts';

export interface PackageDependencies {
  readonly host: Pick<Host, 'files' | 'children' | 'locks'>;
  readonly systemd: () => Promise<SystemdClient>;
  readonly env: NodeJS.ProcessEnv;
}

export interface PackageOptions {
  /** Whether nothing may be installed. */
  readonly never: boolean;
  /** Whether a URL needs no checksum. */
  readonly unverified: boolean;
  /** Told when the package is not there. */
  readonly begun: () => void;
}

/** What of the host an image of the engine `host` is. */
export interface Program {
  /** `nginx:1.22.1-9`, or the path. */
  readonly image: string;
  /** `apt://nginx@1.22.1-9`, or the path. */
  readonly id: string;
  /** The unit that the package ships, with its text. */
  readonly unit?: { readonly name: string; readonly text: string };
  /** For an image that is a path: that. */
  readonly path?: string;
}

interface Named {
  readonly name: string;
  readonly version?: string;
}

async function hostManager({ host }: PackageDependencies): Promise<PackageManager> {
  const text =
    (await host.files.read('/etc/os-release')) ?? (await host.files.read('/usr/lib/os-release')) ?? '';
  const manager = managerOf(text);
  if (manager) return manager;
  throw new SpawnletError('ERR_PACKAGE_MANAGER', 'this host has no package manager that spawnlet knows', {
    hint: 'apt, dnf, zypper or pacman; or name a program of the host by its path',
  });
}

/** The version that is installed; undefined if the package is not there, or not wholly. */
async function installedVersion(
  { host }: PackageDependencies,
  manager: PackageManager,
  name: string,
): Promise<string | undefined> {
  const { code, stdout } = await host.children.capture(manager.installed(name));
  return code === 0 ? versionIn(manager, stdout.toString()) : undefined;
}

/**
 * What an image is on this host, installed if it is not there. A package that is there is taken as it is, whatever the policy:
 * to upgrade one is the administrator's decision, since more than the pod uses it.
 *
 * @throws ERR_PACKAGE_MANAGER, ERR_PACKAGE_VERSION, ERR_PACKAGE_INSTALL, ERR_PACKAGE_CHECKSUM, ERR_IMAGE_NEVER_PULL
 */
export async function programOf(
  deps: PackageDependencies,
  image: PackageImage,
  options: PackageOptions,
  signal: AbortSignal,
): Promise<Program> {
  if (image.kind === 'path') return { image: image.path, id: image.path, path: image.path };
  requireChecksum(image, options.unverified);
  const manager = await hostManager(deps);
  const known = image.kind === 'package' ? image : await recorded(deps, image);
  const there = known && (await installedVersion(deps, manager, known.name));
  const name =
    known && there !== undefined ? known.name : await install(deps, manager, image, options, signal);
  const version = there ?? (await installedVersion(deps, manager, name)) ?? '';
  refuseOther(manager, name, version, known?.version);
  const unit = await unitOf(deps, manager, name);
  return { image: `${name}:${version}`, id: `${manager.name}://${name}@${version}`, ...(unit && { unit }) };
}

/** The command as a person would write it. */
const byHand = (manager: PackageManager, name: string, version: string | undefined) =>
  manager
    .install(name, version)
    .filter(word => !word.startsWith('-'))
    .join(' ');

function refuseOther(
  manager: PackageManager,
  name: string,
  version: string,
  wanted: string | undefined,
): void {
  if (wanted === undefined || wanted === version) return;
  throw new SpawnletError('ERR_PACKAGE_VERSION', `${name} is here in version ${version}, not ${wanted}`, {
    hint: `ask for what is here, or change it for all of the host: ${byHand(manager, name, wanted)}`,
  });
}

const recordOf = (name: string) => `${packagesDirectory}/${name}`;
const urlOf = ({ url, sha256 }: PackageImage & { kind: 'url' }) =>
  sha256 === undefined ? url : `${url}#sha256=${sha256}`;
const textOf = (image: Exclude<PackageImage, { kind: 'path' }>) =>
  image.kind === 'url'
    ? urlOf(image)
    : `${image.name}${image.version === undefined ? '' : `:${image.version}`}`;

/** The package that a URL was, by the note of its install. */
async function recorded(
  { host }: PackageDependencies,
  image: PackageImage & { kind: 'url' },
): Promise<Named | undefined> {
  for (const name of await host.files.list(packagesDirectory)) {
    const text = await host.files.read(recordOf(name));
    if (text?.split('\n').includes(`image ${urlOf(image)}`)) return { name };
  }
  return undefined;
}

/** Installs an image that is not there, after all that are before it; gives the package's name. */
async function install(
  deps: PackageDependencies,
  manager: PackageManager,
  image: Exclude<PackageImage, { kind: 'path' }>,
  { never, begun }: PackageOptions,
  signal: AbortSignal,
): Promise<string> {
  const { host } = deps;
  if (never)
    throw new SpawnletError(
      'ERR_IMAGE_NEVER_PULL',
      `Package "${textOf(image)}" is not installed with pull policy of Never`,
      image.kind === 'package' ? { hint: byHand(manager, image.name, image.version) } : {},
    );
  begun();
  await using _lock = await host.locks.wait('package', signal);
  await untilOver(deps, signal);
  await host.files.makeDirectory(packagesDirectory, 0o700);
  await host.files.makeDirectory(packagesRuntimeDirectory, 0o700);
  const file = image.kind === 'url' ? await fetched(deps, manager, image, signal) : undefined;
  const { name, version } = image.kind === 'url' ? await describedBy(deps, manager, file ?? '') : image;
  const there = await installedVersion(deps, manager, name);
  if (there !== undefined) {
    // Another has brought it meanwhile; or a URL is of a package that was here before.
    if (file !== undefined) await host.files.remove(file);
    refuseOther(manager, name, there, version);
    return name;
  }
  await runInstall(
    deps,
    {
      manager,
      image: textOf(image),
      name,
      ...(version !== undefined && { version }),
      ...(file !== undefined && { file }),
      directory: packagesRuntimeDirectory,
      record: recordOf(name),
    },
    signal,
  );
  return name;
}

/** An install that an agent has begun goes on without it: it is waited for. */
async function untilOver({ systemd }: PackageDependencies, signal: AbortSignal): Promise<void> {
  const client = await systemd();
  if (!(await client.isLoaded(packageUnit, signal))) return;
  await client.waitUntil(packageUnit, isDown, signal);
}

const isDown = ({ ActiveState, Job }: { readonly ActiveState: string; readonly Job: number }) =>
  Job === 0 && (ActiveState === 'inactive' || ActiveState === 'failed');

async function fetched(
  { host, env }: PackageDependencies,
  manager: PackageManager,
  image: PackageImage & { kind: 'url' },
  signal: AbortSignal,
): Promise<string> {
  const name = createHash('sha256').update(urlOf(image)).digest('hex').slice(0, 16);
  const file = `${packagesRuntimeDirectory}/${name}${manager.suffix}`;
  await host.files.remove(file);
  try {
    await fetchFile(image.url, file, env, signal);
  } catch (cause) {
    await host.files.remove(file);
    throw cause;
  }
  const sum = await sha256Of(file, signal);
  if (image.sha256 === undefined || sum === image.sha256) return file;
  await host.files.remove(file);
  throw new SpawnletError('ERR_PACKAGE_CHECKSUM', `${image.url} has sha256 ${sum}, not ${image.sha256}`, {
    hint: 'it is another file than the one whose checksum this is, or was damaged on its way',
  });
}

/** @throws ERR_PACKAGE_INSTALL if the file is no package */
async function describedBy(
  { host }: PackageDependencies,
  manager: PackageManager,
  file: string,
): Promise<Named> {
  const { code, stdout, stderr } = await host.children.capture(manager.described(file));
  const [name = '', version = ''] = stdout.toString().trim().split(' ');
  // It becomes part of a path.
  if (code === 0 && /^[A-Za-z0-9][A-Za-z0-9+._-]*$/.test(name)) return { name, version };
  await host.files.remove(file);
  throw new SpawnletError('ERR_PACKAGE_INSTALL', `what was fetched is no package: ${stderr.trim()}`, {
    hint: `a file for ${manager.name}`,
  });
}

async function runInstall(deps: PackageDependencies, install: Install, signal: AbortSignal): Promise<void> {
  const { files } = deps.host;
  const { directory, manager, name } = install;
  const script = (file: string, text: string) => files.write(`${directory}/${file}`, text, 0o700);
  await Promise.all([
    script('install', installScript(install)),
    script('hook', hookScript(install)),
    script('ended', endedScript(install)),
    files.remove(`${directory}/log`),
  ]);
  const client = await deps.systemd();
  const run = (file: string) => [['/bin/bash', ['/bin/bash', `${directory}/${file}`], false]];
  try {
    await client.startTransientUnit(
      packageUnit,
      [
        ['Description', 's', `Install ${name}`],
        ['Type', 's', 'oneshot'],
        ['CollectMode', 's', 'inactive-or-failed'],
        ['ExecStart', 'a(sasb)', run('install')],
        ['ExecStopPost', 'a(sasb)', run('ended')],
      ],
      signal,
    );
  } catch (error) {
    if (!(error instanceof SpawnletError && error.code === 'ERR_UNIT_FAILED')) throw error;
  }
  await untilOver(deps, signal);
  if ((await installedVersion(deps, manager, name)) !== undefined) return;
  const said = ((await files.read(`${directory}/log`)) ?? '').trim().split('\n').slice(-4).join('; ');
  throw new SpawnletError('ERR_PACKAGE_INSTALL', `${install.image} was not installed: ${said}`, {
    hint: `journalctl -u ${packageUnit}; ${byHand(manager, name, install.version)}`,
  });
}

/** The unit of a package, or of one of its source that it needs: Debian has programs and units in different ones. */
async function unitOf(
  deps: PackageDependencies,
  manager: PackageManager,
  name: string,
): Promise<Program['unit']> {
  for (const each of [name, ...(await siblings(deps, manager, name))]) {
    const { code, stdout } = await deps.host.children.capture(manager.files(each));
    if (code !== 0) continue;
    for (const path of serviceFiles(name, stdout.toString().split('\n'))) {
      const text = await deps.host.files.read(path);
      if (text?.includes('ExecStart')) return { name: path.slice(path.lastIndexOf('/') + 1), text };
    }
  }
  return undefined;
}

async function siblings(
  { host }: PackageDependencies,
  manager: PackageManager,
  name: string,
): Promise<string[]> {
  if (manager.name !== 'apt') return [];
  const query = async (...names: string[]) => {
    const format = '--showformat=${Package} ${source:Package} ${Pre-Depends}, ${Depends}\\n';
    const { stdout } = await host.children.capture(['dpkg-query', '--show', format, ...names]);
    return stdout
      .toString()
      .split('\n')
      .map(line => line.split(' '));
  };
  const [[, source, ...depends] = []] = await query(name);
  const needed = depends
    .join(' ')
    .split(/[,|]/)
    .map(each => each.trim().replace(/[ :(].*$/, ''))
    .filter(Boolean);
  if (needed.length === 0) return [];
  return (await query(...new Set(needed))).flatMap(([found = '', its]) => (its === source ? found : []));
}
