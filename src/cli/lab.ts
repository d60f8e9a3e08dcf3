import { dirname } from 'node:path';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import { quoted } from '../host/shell.ts';
import { copy, parsePlace } from '../lab/copy.ts';
import { type EnterOptions, enter, labPath, onTerminal } from '../lab/enter.ts';
import type { LabStatus } from '../lab/lab.ts';
import * as lab from '../lab/lab.ts';
import { defaultName, parseLabSpec, parseName, suites } from '../lab/spec.ts';
import { defineCommand, dryRunOption, outputOption } from './command.ts';
import type { Context } from './context.ts';
import { each } from './each.ts';
import { type List, printList } from './output.ts';
import { needTerminal } from './terminal.ts';

/** This spawnlet's own tree, which every lab sees, so that it can be run in there. */
const program = dirname(dirname(process.argv[1] ?? '/'));

/** The binds that were asked for, and the program's, read-only unless it is among them. */
const withProgram = (binds: readonly string[]): readonly string[] =>
  binds.some(bind => bind.split(':', 1)[0] === program) ? binds : [...binds, `${program}:${program}:ro`];

export const up = defineCommand({
  name: 'lab up',
  group: 'Labs',
  summary: 'Boot an embedded systemd host',
  synopsis: '[FLAG…] [NAME]',
  arity: [0, 1],
  options: {
    suite: { type: 'string', value: 'SUITE', choices: suites, help: 'Debian release (default bookworm)' },
    packages: { type: 'strings', value: 'NAME,…', help: 'Debian packages beside the usual ones' },
    memory: { type: 'string', short: 'm', value: 'BYTES', help: 'limit of the whole lab: 512m, 2g' },
    cpus: { type: 'string', value: 'NUMBER', help: 'processors for the whole lab: 1.5' },
    nat: { type: 'boolean', help: 'let the lab reach what this host reaches' },
    bind: {
      type: 'strings',
      value: 'SRC[:DST[:ro]]',
      help: 'show a directory or file of this host in the lab',
    },
    network: { type: 'string', value: 'NAME', help: 'network namespace to join (default spawnlet-lab)' },
    ...dryRunOption,
  },
  examples: [
    ['spawnlet lab up', 'a Debian 12 host named lab, with this spawnlet in it'],
    ['spawnlet lab up t', 'one that was shut down, again, with the settings that it has'],
    ['spawnlet lab up t --suite trixie --memory 1g', 'a Debian 13 host in 1 GiB'],
    ['spawnlet lab up b --packages podman,skopeo --nat', 'with more packages, and a way out'],
  ],
  async run({ options, arguments: [name] }, context) {
    const there = await lab.specOf(context.host, parseName(name ?? defaultName));
    const spec = parseLabSpec({
      ...options,
      there,
      name,
      packages: options.packages.flatMap(text => text.split(',')),
      binds: there && options.bind.length === 0 ? [] : withProgram(options.bind),
    });
    const applier = await context.applier();
    if (options['dry-run']) {
      process.stdout.write(await lab.upDryRun(context.host, applier, spec));
      return 0;
    }
    if (await lab.needsTree(context.host, spec))
      process.stderr.write(`Building a ${spec.suite} tree. This takes about a minute, once.\n`);
    const { name: made, state, address } = await lab.up(context.host, applier, spec, null, context.signal);
    process.stdout.write(`${made}: ${state}, ${address}\n`);
    if (state === 'degraded') process.stderr.write(`See spawnlet lab exec ${made} -- systemctl --failed\n`);
    return 0;
  },
});

const list: List<LabStatus> = {
  columns: [
    ['NAME', row => row.name],
    ['STATE', row => row.state],
    ['SUITE', row => row.suite],
    ['ADDRESS', row => row.address],
    ['NETWORK', row => row.network],
  ],
  key: row => row.name,
};

export const status = defineCommand({
  name: 'lab status',
  group: 'Labs',
  summary: 'List labs',
  synopsis: '[FLAG…] [NAME]',
  arity: [0, 1],
  options: outputOption,
  examples: [['spawnlet lab status -o json', 'for scripts']],
  async run({ options, arguments: [name] }, { host }) {
    const rows = await lab.status(host, name);
    await printList(rows, list, options);
    return 0;
  },
});

/** Runs a command in a lab with the caller's streams. Signals of the terminal reach it without us. */
async function attend(
  context: Context,
  name: string,
  command: readonly string[],
  entering: EnterOptions,
): Promise<number> {
  const child = await enter(context.host, parseName(name), command, { stdio: 'inherit' }, entering);
  context.takeSignals(signal => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  });
  return ended(child);
}

function parseEnv(words: readonly string[]): Record<string, string> {
  const pairs = words.map(word => {
    const at = word.indexOf('=');
    return at < 0 ? [word, process.env[word] ?? ''] : [word.slice(0, at), word.slice(at + 1)];
  });
  return Object.fromEntries(pairs) as Record<string, string>;
}

const terminal = (): Record<string, string> => ({ TERM: process.env['TERM'] ?? 'xterm' });

export const exec = defineCommand({
  name: 'lab exec',
  group: 'Labs',
  summary: 'Run a command in a lab',
  synopsis: '[FLAG…] NAME [--] COMMAND [ARG…]',
  arity: [2, Number.POSITIVE_INFINITY],
  passThrough: true,
  options: {
    env: { type: 'strings', short: 'e', value: 'NAME[=VALUE]', help: 'set an environment variable' },
    tty: { type: 'boolean', short: 't', help: 'give it a terminal' },
    workdir: { type: 'string', short: 'w', value: 'DIR', help: 'working directory (default /root)' },
  },
  refused: {
    interactive: 'leave it out: standard input is always passed on',
    i: 'leave it out: standard input is always passed on',
  },
  examples: [
    ['spawnlet lab exec lab -- systemctl status', 'standard streams and the exit code pass through'],
    ['spawnlet lab exec -t lab -- journalctl -f', 'on a terminal'],
  ],
  async run({ options, arguments: [name = '', ...words] }, context) {
    const argv = words[0] === '--' ? words.slice(1) : words;
    if (argv.length === 0)
      throw new SpawnletError('ERR_USAGE', 'lab exec needs a command', { hint: 'spawnlet lab exec --help' });
    const entering: EnterOptions = {
      env: { PATH: `${labPath}:${program}/bin`, ...(options.tty && terminal()), ...parseEnv(options.env) },
      ...(options.workdir !== undefined && { directory: options.workdir }),
    };
    return attend(context, name, options.tty ? onTerminal(argv) : argv, entering);
  },
});

export const shell = defineCommand({
  name: 'lab shell',
  group: 'Labs',
  summary: 'Open a terminal in a lab',
  synopsis: '[NAME]',
  arity: [0, 1],
  options: {},
  examples: [['spawnlet lab shell', 'a login shell of root in the lab named lab']],
  async run({ arguments: [name = defaultName] }, context) {
    needTerminal('lab shell', `lab exec ${name} -- sh`);
    // The login sets PATH anew.
    const command = onTerminal(['bash', '--login', '-c', `PATH=$PATH:${quoted(program)}/bin exec bash`]);
    return attend(context, name, command, { env: terminal() });
  },
});

export const cp = defineCommand({
  name: 'lab cp',
  group: 'Labs',
  summary: 'Copy files to or from a lab',
  synopsis: '[NAME:]SRC [NAME:]DST',
  arity: [2, 2],
  options: {},
  examples: [
    ['spawnlet lab cp ./app lab:/opt', 'a tree into a lab: /opt/app'],
    ['spawnlet lab cp lab:/var/log/. logs', 'what is in a directory of a lab'],
  ],
  async run({ arguments: [from = '', to = ''] }, context) {
    await copy(context.host, parsePlace(from), parsePlace(to), context.signal);
    return 0;
  },
});

export const down = defineCommand({
  name: 'lab down',
  group: 'Labs',
  summary: 'End labs and remove all they left',
  synopsis: '[FLAG…] [NAME…]',
  arity: [0, Number.POSITIVE_INFINITY],
  options: {
    all: { type: 'boolean', short: 'a', help: 'every lab' },
    trees: { type: 'boolean', help: 'and, with --all, the trees that labs are made of' },
  },
  examples: [
    ['spawnlet lab down', 'the lab named lab'],
    ['spawnlet lab down a b', 'two labs'],
    ['spawnlet lab down --all --trees', 'as if there had never been one'],
  ],
  async run({ options, arguments: given }, context) {
    if (options.trees && !options.all)
      throw new SpawnletError('ERR_USAGE', '--trees goes with --all', {
        hint: 'spawnlet lab down --all --trees',
      });
    const applier = await context.applier();
    const named = given.length > 0 ? given.map(parseName) : [parseName(defaultName)];
    const code = await each(options.all ? await lab.names(context.host) : named, async name => {
      await lab.down(context.host, applier, name, context.signal);
      return name;
    });
    if (options.trees && code === 0) await lab.removeTrees(context.host, applier, context.signal);
    return code;
  },
});
