import { SpawnletError } from '../host/error.ts';
import type { AdoptedLine } from '../machine/api.ts';
import { parseMachineName } from '../machine/names.ts';
import { Expected } from '../machine/shape.ts';
import { parseUserName } from '../machine/values.ts';
import { defineCommand, dryRunOption, outputOption } from './command.ts';
import { change, forEachMachine, machines } from './machines.ts';
import { type List, print, printList } from './output.ts';
import { refusedPasswords } from './password-flags.ts';

export const passwd = defineCommand({
  name: 'machine passwd',
  group: 'Machines',
  summary: 'Set a password in a machine',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: {
    user: { type: 'string', short: 'u', value: 'USER', help: 'of the machine (root)' },
    'password-stdin': { type: 'boolean', help: 'read it from standard input' },
    'password-hash-stdin': { type: 'boolean', help: 'the same, as crypt(3) has hashed it' },
    lock: { type: 'boolean', help: 'no login by password' },
    ...dryRunOption,
  },
  refused: refusedPasswords,
  examples: [
    ['spawnlet machine passwd web', "asks for root's"],
    ['spawnlet machine passwd -u ann --password-stdin web <secret', 'for scripts'],
    ['spawnlet machine passwd --password-hash-stdin web <hash', 'what openssl passwd -6 has made'],
  ],
  async run({ options, arguments: [argument = ''] }, context) {
    const name = parseMachineName(argument);
    const user = userOf(options.user ?? 'root');
    const { askPassword, passwordOf } = await import('./password.ts');
    const password = (await passwordOf(options)) ?? (await askPassword(user, context.signal));
    const value = { do: 'passwd', name, user, password } as const;
    const api = await machines(context);
    process.stdout.write(`${await change(api, value, options['dry-run'], context, name)}\n`);
    return 0;
  },
});

function userOf(text: string): string {
  try {
    return parseUserName(text);
  } catch (error) {
    if (!(error instanceof Expected)) throw error;
    throw new SpawnletError('ERR_FLAG_VALUE', `--user does not take '${text}'`, { hint: error.message });
  }
}

export const eject = forEachMachine(
  {
    name: 'machine eject',
    summary: "Forget machines; systemd's own files stay",
    options: {},
    examples: [
      ['spawnlet machine eject web', 'a clone becomes a tree of its own; machinectl goes on with it'],
    ],
  },
  name => ({ do: 'eject', name: parseMachineName(name) }),
);

const list: List<AdoptedLine> = {
  columns: [
    ['WHERE', row => row.where],
    ['LINE', row => row.text],
    ['VERDICT', row => row.verdict],
    ['AS', row => row.as],
  ],
  key: row => row.where,
};

export const adopt = defineCommand({
  name: 'machine adopt',
  group: 'Machines',
  summary: 'Take over a machine that is there, and say what was understood',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: { ...outputOption, ...dryRunOption },
  examples: [
    ['spawnlet machine adopt web --dry-run', 'what each line of its settings would become'],
    ['spawnlet machine adopt web', 'a tree of /var/lib/machines, with its .nspawn file or unit'],
  ],
  async run({ options, arguments: [argument = ''] }, context) {
    const name = parseMachineName(argument);
    const api = await machines(context);
    const { spec, lines } = await api.adoptReport(name, context.signal);
    if (options.output === undefined || options.output === 'table') {
      const { formatMachine } = await import('../machine/document.ts');
      await printList(lines, list, options);
      process.stdout.write(`\n${await formatMachine(spec)}\n`);
    } else {
      const { documentOf } = await import('../machine/document.ts');
      await print({ lines, machine: documentOf(spec) }, options.output);
    }
    // Documents are all that programs read of standard output.
    const done = await change(api, { do: 'adopt', name }, options['dry-run'], context, name);
    process.stderr.write(`${done}\n`);
    return 0;
  },
});
