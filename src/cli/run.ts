import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { basename, resolve } from 'node:path';
import type { Apps } from '../app/app.ts';
import type { HealthFlags } from '../app/health.ts';
import * as flags from '../app/request.ts';
import type { Session } from '../app/session.ts';
import { loadSockets } from '../engine/attach.ts';
import { parseSignal } from '../engine/signal.ts';
import { SpawnletError } from '../host/error.ts';
import { unique } from '../host/process.ts';
import type { UnitWatch } from '../systemd/watch.ts';
import { authFileOption, defineCommand, type Input, type Options } from './command.ts';
import { containers, tellDropIns } from './containers.ts';
import type { Context } from './context.ts';
import { showProgress } from './progress.ts';
import { refuseMissingSources, tellForeignAddresses } from './run-checks.ts';
import { follow, followPipes, refuseFalseTerminal, streamsOf, terminalSize } from './terminal.ts';

const options = {
  name: { type: 'string', value: 'NAME', help: 'name of the container and of its unit' },
  detach: { type: 'boolean', short: 'd', help: 'start it, print its name and return' },
  rm: { type: 'boolean', help: 'remove the container when it has ended' },
  interactive: { type: 'boolean', short: 'i', help: 'keep standard input open' },
  tty: { type: 'boolean', short: 't', help: 'give it a terminal' },
  'detach-keys': {
    type: 'string',
    value: 'KEYS',
    help: 'keys that leave a container with -t (ctrl-p,ctrl-q)',
  },
  env: {
    type: 'strings',
    short: 'e',
    value: 'NAME[=VALUE]',
    help: 'set a variable, or pass one of yours on',
  },
  'env-file': { type: 'strings', value: 'FILE', help: 'read variables from a file' },
  volume: {
    type: 'strings',
    short: 'v',
    value: 'SRC:DST[:ro]',
    help: 'bind a directory or file of the host',
  },
  tmpfs: { type: 'strings', value: 'DST[:OPTIONS]', help: 'mount an empty file system in memory' },
  user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'run as, by name or number' },
  workdir: { type: 'string', short: 'w', value: 'DIR', help: 'working directory' },
  entrypoint: { type: 'string', value: 'COMMAND', help: "replace the image's entrypoint" },
  hostname: { type: 'string', value: 'NAME', help: 'host name inside' },
  memory: { type: 'string', short: 'm', value: 'SIZE', help: 'memory limit: 512m, 2g' },
  cpus: { type: 'string', value: 'NUMBER', help: 'CPU limit: 1.5' },
  'pids-limit': { type: 'string', value: 'NUMBER', help: 'limit of processes and threads' },
  'read-only': { type: 'boolean', help: 'make the root file system read-only' },
  'cap-add': { type: 'strings', value: 'CAP', help: 'add a capability, or ALL' },
  'cap-drop': { type: 'strings', value: 'CAP', help: 'drop a capability, or ALL' },
  privileged: { type: 'boolean', help: 'all capabilities and devices, no seccomp filter' },
  device: { type: 'strings', value: 'SRC[:DST][:rwm]', help: 'give it a device of the host' },
  'security-opt': {
    type: 'strings',
    value: 'OPTION',
    help: 'no-new-privileges, seccomp=unconfined, seccomp=FILE',
  },
  network: {
    type: 'string',
    value: 'NETWORK',
    choices: ['bridge', 'host', 'none'],
    help: 'bridge (default), host or none',
  },
  publish: {
    type: 'strings',
    short: 'p',
    value: '[[ADDRESS:]PORT:]PORT[/udp]',
    help: 'reach a port of it at a port of this host',
  },
  'publish-all': { type: 'boolean', short: 'P', help: 'publish the ports that the image exposes' },
  ip: { type: 'string', value: 'ADDRESS', help: 'IPv4 address on the bridge' },
  ip6: { type: 'string', value: 'ADDRESS', help: 'IPv6 address on the bridge' },
  dns: { type: 'strings', value: 'ADDRESS', help: 'name server instead of the bridge’s' },
  'add-host': {
    type: 'strings',
    value: 'NAME:ADDRESS',
    help: 'a line of /etc/hosts; host-gateway is this host',
  },
  restart: { type: 'string', value: 'POLICY', help: 'no (default), on-failure[:N], always, unless-stopped' },
  'stop-signal': {
    type: 'string',
    value: 'SIGNAL',
    help: "signal that asks it to end (the image's, or SIGTERM)",
  },
  'stop-timeout': { type: 'string', value: 'SECONDS', help: 'time until SIGKILL (10)' },
  'health-cmd': {
    type: 'string',
    value: 'COMMAND',
    help: 'command in it that tells whether it is well, or none',
  },
  'health-interval': { type: 'string', value: 'TIME', help: 'between two checks (30s), or disable' },
  'health-timeout': { type: 'string', value: 'TIME', help: 'a check that takes longer has failed (30s)' },
  'health-retries': { type: 'string', value: 'NUMBER', help: 'failures until it is unhealthy (3)' },
  'health-start-period': { type: 'string', value: 'TIME', help: 'failures do not count so long (0s)' },
  'health-on-failure': {
    type: 'string',
    value: 'ACTION',
    choices: ['none', 'kill', 'restart', 'stop'],
    help: 'none (default), kill, restart or stop',
  },
  'no-healthcheck': { type: 'boolean', help: "leave the image's health check out" },
  label: { type: 'strings', short: 'l', value: 'NAME=VALUE', help: 'note something about it' },
  pull: {
    type: 'string',
    value: 'POLICY',
    choices: ['always', 'missing', 'never'],
    help: 'always, missing (default) or never',
  },
  'tls-verify': { type: 'boolean', initially: true, help: '--tls-verify=false for a registry without TLS' },
  authfile: authFileOption,
  engine: { type: 'string', value: 'ENGINE', choices: ['crun', 'nspawn'], help: 'crun (default) or nspawn' },
  register: { type: 'boolean', help: 'show it in machinectl (engine nspawn)' },
  enable: { type: 'boolean', help: 'start it at boot' },
  'dry-run': { type: 'boolean', help: 'print every file and step, change nothing' },
} as const satisfies Options;

/** Flags of podman run that people will try, and what serves instead. */
const refused: Readonly<Record<string, string>> = {
  net: 'use --network',
  mount: 'use -v, --tmpfs or --device',
  volumes: 'use -v',
  pod: 'pods are made by spawnlet pod apply',
  replace: 'spawnlet rm -f NAME first',
  init: 'the program itself is PID 1; let the image bring an init',
  ulimit: 'systemctl edit NAME: LimitNOFILE= and its kin',
  sysctl: 'not there yet',
  'network-alias': 'others find the container by its --name, and by its --hostname',
  'dns-search': 'bind a resolv.conf: -v FILE:/etc/resolv.conf:ro',
  'dns-option': 'bind a resolv.conf: -v FILE:/etc/resolv.conf:ro',
  'mac-address': 'not there: it follows from the host and the name, and stays the same',
  userns: 'user namespaces are not there yet',
  uidmap: 'user namespaces are not there yet',
  gidmap: 'user namespaces are not there yet',
  'cpu-shares': 'systemctl edit NAME: CPUWeight=',
  c: 'systemctl edit NAME: CPUWeight=',
  'cpu-period': 'use --cpus',
  'cpu-quota': 'use --cpus',
  'cpu-rt-period': 'systemctl edit NAME: CPUSchedulingPolicy=',
  'cpu-rt-runtime': 'systemctl edit NAME: CPUSchedulingPolicy=',
  'cpuset-cpus': 'systemctl edit NAME: AllowedCPUs=, where cgroups are v2',
  'cpuset-mems': 'systemctl edit NAME: AllowedMemoryNodes=, where cgroups are v2',
  'memory-swappiness': 'systemctl edit NAME: MemorySwapMax=',
  'oom-kill-disable': 'systemctl edit NAME: OOMPolicy=continue',
  'device-read-bps': 'systemctl edit NAME: IOReadBandwidthMax=',
  'device-write-bps': 'systemctl edit NAME: IOWriteBandwidthMax=',
  'device-read-iops': 'systemctl edit NAME: IOReadIOPSMax=',
  'device-write-iops': 'systemctl edit NAME: IOWriteIOPSMax=',
  'blkio-weight-device': 'systemctl edit NAME: IODeviceWeight=',
  'device-cgroup-rule': 'systemctl edit NAME: DeviceAllow=',
  'rdt-class': 'systemd has no setting for it',
  cgroups: 'the container is in the cgroup of its unit',
  'cgroup-parent': 'systemctl edit NAME: Slice=',
  'cgroup-conf': 'systemctl edit NAME: systemd.resource-control(5)',
  'memory-swap': 'systemctl edit NAME: MemorySwapMax=',
  'memory-reservation': 'systemctl edit NAME: MemoryLow=',
  'blkio-weight': 'systemctl edit NAME: IOWeight=',
  'oom-score-adj': 'not there yet',
  'log-driver': 'logs are in the journal: spawnlet logs NAME',
  'log-opt': 'systemctl edit systemd-journald@spawnlet, or /etc/systemd/journald@spawnlet.conf',
  pid: 'the container has a PID namespace of its own',
  ipc: 'the container has an IPC namespace of its own',
  uts: 'the container has a UTS namespace of its own; --hostname sets its name',
  'health-startup-cmd': '--health-start-period is the time in which failures do not count',
  'health-startup-interval': '--health-start-period is the time in which failures do not count',
  'health-startup-retries': '--health-start-period is the time in which failures do not count',
  'health-startup-success': '--health-start-period is the time in which failures do not count',
  'health-startup-timeout': '--health-start-period is the time in which failures do not count',
  'health-log-destination': 'spawnlet inspect NAME has the last five results',
  'health-max-log-count': 'spawnlet inspect NAME has the last five results',
  'health-max-log-size': 'spawnlet inspect NAME has the first 500 bytes of each',
  secret: 'use --env-file, or bind a file of mode 0600',
  platform: 'spawnlet image pull --platform, then run',
  arch: 'spawnlet image pull --platform, then run',
  os: 'spawnlet image pull --platform, then run',
  variant: 'spawnlet image pull --platform, then run',
  creds: 'use --authfile',
  'cert-dir': 'put the certificate of the authority into the host’s store: update-ca-certificates',
  'decryption-key': 'encrypted images are not there',
  'signature-policy': 'signatures are not looked at yet',
  'disable-content-trust': 'leave it out: signatures are not looked at yet',
  retry: 'leave it out: what may pass is tried five times',
  'retry-delay': 'leave it out: what may pass is tried five times',
  'dns-opt': 'bind a resolv.conf: -v FILE:/etc/resolv.conf:ro',
  'no-hosts': 'bind a file: -v FILE:/etc/hosts:ro',
  'hosts-file': 'bind a file: -v FILE:/etc/hosts:ro',
  'no-hostname': 'bind a file: -v FILE:/etc/hostname:ro',
  'env-host': 'name the variables: -e NAME',
  'env-merge': 'use -e NAME=VALUE with the value that it shall have',
  unsetenv: 'use -e NAME= for an empty one',
  'unsetenv-all': 'use -e NAME= for an empty one',
  'label-file': 'use --label',
  'http-proxy': 'pass variables on: -e http_proxy',
  'image-volume': 'bind your own: -v SRC:DST, or --tmpfs DST',
  'read-only-tmpfs': 'name the directories: --tmpfs /run --tmpfs /tmp',
  'volume-driver': 'mount it on the host, then -v SRC:DST',
  'storage-opt': 'the layers are an overlay on the file system of /var/lib/spawnlet',
  pidfile: 'systemctl show -P MainPID NAME; the program’s is /run/spawnlet/app/NAME/pid',
  'conmon-pidfile': 'systemctl show -P MainPID NAME',
  'pod-id-file': 'pods are made by spawnlet pod apply',
  'init-ctr': 'pods are made by spawnlet pod apply',
  'init-path': 'the program itself is PID 1; let the image bring an init',
  requires: 'systemctl edit NAME: Requires= and After=',
  rmi: 'spawnlet image rm afterwards',
  runtime: 'use --engine',
  passwd: 'bind a file: -v FILE:/etc/passwd:ro',
  'passwd-entry': 'bind a file: -v FILE:/etc/passwd:ro',
  'group-entry': 'bind a file: -v FILE:/etc/group:ro',
  hostuser: 'name a number: -u UID:GID',
  personality: 'systemctl edit NAME: Personality=',
  'preserve-fds': 'systemd starts the container; bind a socket or a FIFO: -v',
  'preserve-fd': 'systemd starts the container; bind a socket or a FIFO: -v',
  'link-local-ip': 'the bridge has no such addresses',
  'shm-size-systemd': 'mount your own: --tmpfs /run:size=64m',
  'seccomp-policy': 'use --security-opt seccomp=FILE',
  subuidname: 'user namespaces are not there yet',
  subgidname: 'user namespaces are not there yet',
  chrootdirs: 'bind the files: -v',
  cidfile: 'the name is the ID: --name',
  systemd: 'an OS with an init of its own is a machine: spawnlet machine create NAME --from oci:IMAGE',
  quiet: 'spawnlet image pull -q first',
  q: 'spawnlet image pull -q first',
  'shm-size': 'mount your own: --tmpfs /dev/shm:size=256m,exec',
  'group-add': '-u USER takes the groups of the image; name a GROUP with -u USER:GROUP',
  gpus: 'give it the device nodes: --device',
  'volumes-from': 'name the directories: -v',
  expose: '-p publishes a port; between containers all are open',
  cgroupns: 'on cgroup v2 the container has a cgroup namespace of its own',
  annotation: 'use --label',
  tz: 'use -e TZ=ZONE',
  umask: 'let the program set it',
  timeout: 'systemctl edit NAME: RuntimeMaxSec=',
  rootfs: 'an image is needed: oci:DIR, oci-archive:FILE or docker-archive:FILE',
  'sig-proxy': 'SIGINT and SIGTERM always go to the program',
  sdnotify: 'not there yet',
  link: 'containers on the bridge find each other by name',
  a: 'without -d all streams are attached; -d for none',
  attach: 'without -d all streams are attached; -d for none',
};

type RunInput = Input<typeof options>;

/** The values of the flags. @throws ERR_FLAG_VALUE and its kin. */
async function requestOf(
  { options: given, arguments: words }: RunInput,
  env: NodeJS.ProcessEnv,
): Promise<flags.RunRequest> {
  const [image = '', ...command] = words;
  if (given.rm && given.restart !== undefined && given.restart !== 'no') conflict('--rm and --restart');
  if (given.rm && given.enable) conflict('--rm and --enable');
  if (given.register && given.engine !== 'nspawn') conflict('--register and the engine crun');
  const network = given.network === 'host' || given.network === 'none' ? given.network : 'bridge';
  if (network !== 'bridge') refuseBridgeFlags(given, network);
  const files = await Promise.all(given['env-file'].map(file => readEnvFile(file)));
  const security = flags.parseSecurity(given['security-opt']);
  const optional = <T>(key: string, value: T | undefined) => (value === undefined ? {} : { [key]: value });
  return {
    name: given.name === undefined ? freshName(image) : flags.parseName(given.name),
    image: absolute(image),
    command,
    ...optional(
      'entrypoint',
      given.entrypoint === undefined ? undefined : flags.parseEntrypoint(given.entrypoint),
    ),
    env: [
      ...files.flatMap(text => flags.parseEnvFile(text, env)),
      ...given.env.flatMap(entry => flags.parseEnv(entry, env) ?? []),
    ],
    volumes: given.volume.map(text => flags.parseVolume(text, process.cwd())),
    tmpfs: given.tmpfs.map(flags.parseTmpfs),
    ...optional('user', given.user),
    ...optional('workdir', given.workdir === undefined ? undefined : flags.parseWorkdir(given.workdir)),
    ...optional('hostname', given.hostname === undefined ? undefined : flags.parseHostname(given.hostname)),
    ...optional('memory', given.memory === undefined ? undefined : flags.parseMemory(given.memory)),
    ...optional('cpus', given.cpus === undefined ? undefined : flags.parseNumber('cpus', given.cpus, 0.01)),
    ...optional('pids', given['pids-limit'] === undefined ? undefined : flags.parsePids(given['pids-limit'])),
    readOnly: given['read-only'],
    capAdd: given['cap-add'],
    capDrop: given['cap-drop'],
    privileged: given.privileged,
    devices: given.device.map(flags.parseDevice),
    ...security,
    network,
    ...(network === 'bridge' && { attachment: attachmentOf(given) }),
    ...(given['add-host'].length > 0 && { hosts: given['add-host'].map(flags.parseHost) }),
    ...optional('health', healthFlags(given)),
    restart: flags.parseRestart(given.restart ?? 'no'),
    ...optional(
      'stopSignal',
      given['stop-signal'] === undefined ? undefined : parseSignal(given['stop-signal']),
    ),
    stopTimeout:
      given['stop-timeout'] === undefined
        ? 10
        : flags.parseCount('stop-timeout', given['stop-timeout'], 0, 'seconds'),
    labels: Object.fromEntries(given.label.map(flags.parseLabel)),
    terminal: given.tty,
    ...optional('terminalSize', given.tty ? terminalSize() : undefined),
    stdin: given.interactive,
    removeAfterwards: given.rm,
    pull: given.pull === 'always' || given.pull === 'never' ? given.pull : 'missing',
    engine: given.engine === 'nspawn' ? 'nspawn' : 'crun',
    register: given.register,
    tlsVerify: given['tls-verify'],
    ...optional('authFile', authFileOf(given.authfile, env)),
  };
}

/** What was asked for of health checks; undefined if nothing was. */
function healthFlags(given: RunInput['options']): HealthFlags | undefined {
  const time = (name: 'health-interval' | 'health-timeout' | 'health-start-period') => {
    const text = given[name];
    if (text === undefined) return undefined;
    return name === 'health-interval' && text === 'disable' ? 0 : flags.parseTime(name, text);
  };
  const retries = given['health-retries'];
  const all = {
    test: given['health-cmd'] === undefined ? undefined : flags.parseHealthCommand(given['health-cmd']),
    interval: time('health-interval'),
    timeout: time('health-timeout'),
    retries: retries === undefined ? undefined : flags.parseCount('health-retries', retries, 1),
    startPeriod: time('health-start-period'),
    onFailure:
      given['health-on-failure'] === undefined ? undefined : flags.parseOnFailure(given['health-on-failure']),
  };
  const asked = Object.entries(all).filter(([, value]) => value !== undefined);
  if (given['no-healthcheck'])
    return asked.length === 0 ? 'off' : conflict('--no-healthcheck and --health flags');
  return asked.length === 0 ? undefined : (Object.fromEntries(asked) as HealthFlags);
}

const attachmentOf = (given: RunInput['options']): flags.AttachmentFlags => ({
  ports: given.publish.flatMap(flags.parsePublish),
  publish: given['publish-all'] ? 'all' : 'listed',
  addresses: [
    ...(given.ip === undefined ? [] : [familyOf('ip', given.ip, 4)]),
    ...(given.ip6 === undefined ? [] : [familyOf('ip6', given.ip6, 6)]),
  ],
  dns: given.dns.map(text => flags.parseAddress('dns', text)),
});

function familyOf(flag: 'ip' | 'ip6', text: string, family: 4 | 6): string {
  const address = flags.parseAddress(flag, text);
  if (isIP(address) === family) return address;
  throw new SpawnletError('ERR_FLAG_VALUE', `--${flag} does not take '${text}'`, {
    hint: `an IPv${family} address; the other family is --${flag === 'ip' ? 'ip6' : 'ip'}`,
  });
}

/** Flags that say something of the bridge. With the host's network its ports, name servers and hosts file hold. */
function refuseBridgeFlags(given: RunInput['options'], network: 'host' | 'none'): void {
  const one = (['publish', 'dns'] as const).find(flag => given[flag].length > 0);
  const alone = (['ip', 'ip6'] as const).find(flag => given[flag] !== undefined);
  const hosts = network === 'host' && given['add-host'].length > 0 ? 'add-host' : undefined;
  const flag = one ?? (given['publish-all'] ? 'publish-all' : undefined) ?? alone ?? hosts;
  if (flag !== undefined) conflict(`--${flag} and --network ${network}`);
}

function conflict(what: string): never {
  throw new SpawnletError('ERR_FLAG_CONFLICT', `${what} do not go together`, {
    hint: 'leave one of them out',
  });
}

/** Whole, since the unit fetches the image without the caller's directory and variables. */
function authFileOf(flag: string | undefined, env: NodeJS.ProcessEnv): string | undefined {
  const path = flag ?? env['REGISTRY_AUTH_FILE'];
  return path ? resolve(path) : undefined;
}

/** A layout or archive by its whole path: the unit fetches it from another directory. */
const absolute = (image: string) =>
  image.replace(/^(oci|oci-archive|docker-archive):(?!\/)/, `$1:${process.cwd()}/`);

async function readEnvFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new SpawnletError('ERR_FLAG_VALUE', `--env-file ${path} cannot be read`, {
      cause,
      hint: 'name a file that is there',
    });
  }
}

/** `nginx-3f2a` for docker.io/library/nginx:1.27. */
function freshName(image: string): string {
  const base = basename(image.replace(/@.*$/, ''))
    .replace(/:.*$/, '')
    .replaceAll(/[^\w.-]/g, '-')
    .replace(/^[^a-zA-Z0-9]+/, '');
  return `${(base || 'container').slice(0, 50)}-${unique().slice(4)}`;
}

export const run = defineCommand({
  name: 'run',
  group: 'Containers',
  summary: 'Run an image as a systemd unit',
  synopsis: '[FLAG…] IMAGE [COMMAND [ARG…]]',
  arity: [1, Number.POSITIVE_INFINITY],
  passThrough: true,
  options,
  refused,
  examples: [
    ['spawnlet run --rm alpine:3.22 echo hello', 'one command, nothing left behind'],
    [
      'spawnlet run -d --name web -p 8080:80 -v /srv/www:/usr/share/nginx/html:ro nginx',
      'a web server, in the background, at port 8080 of this host',
    ],
    [
      'spawnlet run -d --name web --restart always --enable nginx',
      'the same at every boot; systemctl status web shows it',
    ],
    ['spawnlet run --rm -it debian:13 bash', 'a shell on a terminal'],
    ['spawnlet run --dry-run --memory 512m nginx', 'what would be written'],
  ],
  run: runImage,
});

async function runImage(input: RunInput, context: Context): Promise<number> {
  const request = await requestOf(input, context.env);
  const attached = !input.options.detach;
  if (attached && !input.options['dry-run']) refuseFalseTerminal(request);
  context.tlsVerify = request.tlsVerify;
  context.authFile = request.authFile;
  refuseMissingSources(request);
  tellForeignAddresses(request);
  using _progress = showProgress(context);
  // What is only printed can be on a machine without systemd.
  const apps = input.options['dry-run'] ? await context.apps() : await containers(context);
  if (input.options['dry-run'] && (await apps.needsPull(request, context.signal))) {
    process.stdout.write(`pull image ${request.image}\n`);
    process.stderr.write('spawnlet: the rest depends on the image: pull it first to see it\n');
    return 0;
  }
  const plan = await apps.prepare(
    input.options['dry-run'] ? { ...request, pull: 'never' } : request,
    { gate: !input.options['dry-run'], attached, enable: input.options.enable },
    context.signal,
  );
  // Drop-ins of a container that is there are no news.
  if (!(await context.host.files.look(plan.spec.directory)))
    await tellDropIns(request.name, 'is there already, and changes this unit too', context);
  if (input.options['dry-run']) {
    process.stdout.write(await apps.dryRun(plan, existsSync('/run/systemd/system'), context.signal));
    return 0;
  }
  using session = apps.sessionOf(plan);
  await using watch = await session.watch(context.signal);
  // Loaded while systemd and crun make the container.
  if (attached && request.engine === 'crun') context.listeners.queued = () => void loadSockets();
  await apps.create(plan, context.signal);
  try {
    if (attached)
      return await followRun(apps, session, watch, request, input.options['detach-keys'], context);
    await session.pass(async () => undefined, context.signal);
  } catch (error) {
    await apps.abandon(plan, session, error);
    throw error;
  }
  process.stdout.write(`${request.name}\n`);
  return 0;
}

function followRun(
  apps: Apps,
  session: Session,
  watch: UnitWatch,
  request: flags.RunRequest,
  detachKeys: string | undefined,
  context: Context,
): Promise<number> {
  if (request.engine === 'nspawn') return followPipes(apps, session, watch, request, context);
  return follow(apps, session, watch, streamsOf(request, detachKeys), request.name, context);
}
