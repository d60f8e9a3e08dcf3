import type { Command, Group } from './command.ts';
import type { Entry } from './registry.ts';

const groups: readonly Group[] = ['Containers', 'Pods', 'Images', 'Machines', 'Labs', 'Host'];

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`.trimEnd()).join('\n');
}

/** `spawnlet help`. */
export function helpOfAll(entries: readonly Entry[]): string {
  const parts = groups.flatMap(group => {
    const rows = entries
      .filter(entry => entry.group === group && !entry.hidden)
      .map(entry => [entry.name, entry.summary] as const);
    return rows.length === 0 ? [] : [`${group}\n${columns(rows)}`];
  });
  return `spawnlet runs OCI images and OS containers as systemd units.

Usage: spawnlet COMMAND [FLAG…] [ARGUMENT…]

${parts.join('\n\n')}

'spawnlet COMMAND --help' tells a command's flags, with examples. spawnlet --debug COMMAND … shows where an error comes from.
`;
}

/** `spawnlet COMMAND --help`. */
export function helpOf(command: Command): string {
  const flags = Object.entries(command.options).map(([name, option]) => {
    const short = option.short ? `-${option.short}, ` : '    ';
    const value = option.type === 'boolean' ? '' : ` ${option.value ?? 'VALUE'}`;
    return [`${short}--${name}${value}`, option.help] as const;
  });
  const parts = [`Usage: spawnlet ${command.name} ${command.synopsis}`.trimEnd(), command.summary];
  if (flags.length > 0) parts.push(`Flags\n${columns(flags)}`);
  const examples = command.examples.map(([line, what]) => `  # ${what}\n  ${line}`);
  parts.push(`Examples\n${examples.join('\n')}`);
  return `${parts.join('\n\n')}\n`;
}
