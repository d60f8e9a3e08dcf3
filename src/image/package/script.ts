import { quoted } from '../../host/shell.ts';
import type { PackageManager } from './managers.ts';

/** The scripts of an install: they run as a unit, which goes on when who started it has gone. */

export interface Install {
  readonly manager: PackageManager;
  /** As the pod says it. */
  readonly image: string;
  readonly name: string;
  readonly version?: string;
  /** A package that was fetched; it goes when the install is over. */
  readonly file?: string;
  /** Where scripts lie and what the install says is written. */
  readonly directory: string;
  /** Notes what was masked for it. */
  readonly record: string;
}

const line = (words: readonly string[]) => words.map(quoted).join(' ');

const services = '/etc/systemd/system';
const dropIn = 'spawnlet-install.conf';

const environment = `export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none LC_ALL=C.UTF-8 HOME=/root
`;

/** A function of the shell: what of systemd's and of init's a list of files, on its input, starts. */
const startedBy = `started_by() {
  sed -nE 's,^\\.?/(usr/)?lib/systemd/system/([^/@]+\\.(service|socket|timer|path))$,\\2,p; s,^\\.?/etc/init\\.d/([^/]+)$,\\1.service,p'
}
`;

/**
 * Keeps units that nobody else knows from being started, each noted first. They are not masked yet: a package may want to enable
 * them, and would fail.
 */
const hold = (record: string) => `hold() {
  while read -r unit; do
    [ ! -e ${services}/"$unit" ] && [ ! -L ${services}/"$unit" ] || continue
    grep -qsx "masked $unit" ${quoted(record)} || echo "masked $unit" >> ${quoted(record)}
    mkdir -p ${services}/"$unit".d
    printf '%s\\n' '# While its package is installed; made by spawnlet.' '[Unit]' 'ConditionPathExists=/run/spawnlet/never' > ${services}/"$unit".d/${dropIn}
  done
  systemctl daemon-reload
}
`;

/** Masks what was held of a package that is there; lets go what was held of one that is not. One that is half there stays held. */
const settle = ({ manager, name, record }: Install) => `settle() {
  local state what unit
  state=$(${line(manager.installed(name))} 2> /dev/null)
  case $state in
    unpacked* | half-* | triggers-*) return ;;
    '' | not-installed* | config-files*) state= ;;
  esac
  while read -r what unit; do
    [ "$what" = masked ] || continue
    rm -f ${services}/"$unit".d/${dropIn}
    rmdir ${services}/"$unit".d 2> /dev/null
    [ -z "$state" ] || [ -e ${services}/"$unit" ] || [ -L ${services}/"$unit" ] || ln -s /dev/null ${services}/"$unit"
  done < ${quoted(record)}
  [ -n "$state" ] || rm -f ${quoted(record)}
  systemctl daemon-reload
}
`;

/**
 * What apt runs once it has fetched all and before it unpacks any: the services of the package, and of those of its source that
 * come with it, are held before they could be started. Other packages that it needs are the distribution's affair.
 */
export const hookScript = ({ name, record }: Install): string => `#!/bin/bash
# Run by apt with the files that it is about to install on its input.
set -eu
${startedBy}${hold(record)}fields() { dpkg-deb --show --showformat='\${Package} \${source:Package}\\n' "$1"; }
mapfile -t files
wanted=
for file in "\${files[@]}"; do
  read -r package source < <(fields "$file")
  [ "$package" != ${quoted(name)} ] || wanted=$source
done
for file in "\${files[@]}"; do
  read -r package source < <(fields "$file")
  [ "$source" = "$wanted" ] || continue
  [ "$(dpkg-query --show --showformat='\${db:Status-Status}' "$package" 2> /dev/null || :)" != installed ] || continue
  dpkg-deb --fsys-tarfile "$file" | tar --list
done | started_by | hold
`;

function installing({ manager, name, version, file, directory }: Install): string {
  const hook = `/bin/bash ${directory}/hook`;
  const words = file === undefined ? manager.install(name, version) : manager.installFile(file);
  if (manager.name !== 'apt') return line(words);
  const [program = '', ...rest] = words;
  return line([program, `--option=DPkg::Pre-Install-Pkgs::=${hook}`, ...rest]);
}

/** After a first try that failed, the lists are brought up to date: they may name what is no longer there. */
export function installScript(install: Install): string {
  const { manager, image, name, version, file, directory, record } = install;
  const known = file === undefined ? manager.known?.(name, version) : undefined;
  const isApt = manager.name === 'apt';
  return `#!/bin/bash
# Installs ${name} for a pod of the engine host; made by spawnlet.
set -eu
exec > ${quoted(`${directory}/log`)} 2>&1
${environment}${isApt ? `${line(manager.repair)}\n` : startedBy + hold(record)}grep -qsxF ${quoted(`image ${image}`)} ${quoted(record)} || echo ${quoted(`image ${image}`)} >> ${quoted(record)}
install() { ${installing(install)}; }
${known ? `${line(known)} > /dev/null 2>&1 || ${line(manager.refresh)} || :\n` : ''}install || { ${line(manager.refresh)}; install; }
${isApt ? '' : `${line(manager.files(name))} | started_by | hold\n`}`;
}

/** Runs however the install has ended: ends what it has begun, and settles what becomes of its services. */
export function endedScript(install: Install): string {
  const { manager, name, directory, file } = install;
  return `#!/bin/bash
# Runs when the install of ${name} has ended, however it ended.
exec >> ${quoted(`${directory}/log`)} 2>&1
${environment}${settle(install)}[ "$SERVICE_RESULT" = success ] || ${line(manager.repair)}
${file === undefined ? '' : `rm -f ${quoted(file)}\n`}settle
`;
}
