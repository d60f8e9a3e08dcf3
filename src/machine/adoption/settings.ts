import { parseUnit, type UnitFile } from '../../systemd/unit-file.ts';
import { quotedWord } from '../nspawn-words.ts';
import { keyOf, optionOf, rlimits } from '../options.ts';
import { commandWords, type GivenOption, nspawnCommand } from './command-line.ts';

/** Files and command lines as one list of settings, in the words of systemd.nspawn(5). */

export interface Setting {
  /** `Exec.Boot`; an option that has no key by its flag, `--machine`; a line of a unit by `Service.MemoryMax`. */
  readonly id: string;
  /** As the `.nspawn` file would have it. */
  readonly value: string;
  /** `/etc/systemd/nspawn/web.nspawn:4`. */
  readonly where: string;
  /** As it was written. */
  readonly text: string;
}

export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The assignments of a file, with their lines. Comments are none. */
export function settingsOf({ path, text }: SourceFile): Setting[] {
  const file: UnitFile = parseUnit(text);
  const settings: Setting[] = [];
  const count = (source: string) => source.split('\n').length;
  let line = 1;
  for (const other of file.head) line += other.kind === 'other' ? count(other.text) : 1;
  for (const { name, lines, source } of file.sections) {
    line += count(source ?? name);
    for (const each of lines) {
      if (each.kind === 'assignment') {
        const shown = `[${name}] ${each.key}=${each.value}`;
        settings.push({
          id: `${name}.${each.key}`,
          value: each.value,
          where: `${path}:${line}`,
          text: shown,
        });
        line += count(each.source ?? '');
      } else line += count(each.text);
    }
  }
  return settings;
}

const lists = new Set(['Exec.Capability', 'Exec.DropCapability', 'Exec.AmbientCapability']);

/** An option of a command line as the line that a file would have. Undefined where no line could say it. */
function settingOf({ option, text, value }: GivenOption, where: string): Setting | undefined {
  const flag = option.flags[0] ?? '';
  const id = option.key ?? flag;
  const written = { where, text };
  if (flag === '--rlimit') {
    const match = /^(?:RLIMIT_)?([A-Z]+)=(.+)$/.exec(value ?? '');
    const known = rlimits.some(name => name === match?.[1]);
    return match && known
      ? { id: `Exec.Limit${match[1] ?? ''}`, value: match[2] ?? '', ...written }
      : undefined;
  }
  if (flag === '-j') return { id: 'Exec.LinkJournal', value: 'try-guest', ...written };
  if (id === 'Exec.Environment') {
    if (!value?.includes('=') || /[\n\r\0]/.test(value)) return undefined;
    return { id, value: quotedWord('the variable', value), ...written };
  }
  if (lists.has(id)) return { id, value: (value ?? '').replaceAll(',', ' '), ...written };
  return { id, value: value ?? 'yes', ...written };
}

export interface CommandSettings {
  readonly settings: readonly Setting[];
  /** Words that are no options, or none that a file could have. */
  readonly unknown: readonly Setting[];
}

/** The settings in an `ExecStart=`; undefined if that does not run systemd-nspawn, or is not fixed. */
export function commandSettings(exec: Setting, instance: string): CommandSettings | undefined {
  const words = commandWords(exec.value, instance);
  const command = words && nspawnCommand(words);
  if (!command) return undefined;
  const settings: Setting[] = [];
  const unknown: Setting[] = [];
  for (const word of command.words) {
    const setting = word.kind === 'option' ? settingOf(word, exec.where) : undefined;
    if (setting) settings.push(setting);
    else unknown.push({ id: word.text, value: '', where: exec.where, text: word.text });
  }
  if (command.rest.length > 0) {
    const text = command.rest.join(' ');
    settings.push(
      /[\n\r\0]/.test(text)
        ? { id: '--', value: text, where: exec.where, text }
        : {
            id: 'Exec.Parameters',
            value: command.rest.map(word => quotedWord('an argument', word)).join(' '),
            where: exec.where,
            text,
          },
    );
  }
  return { settings, unknown };
}

/** Settings of one group replace each other between a command line and a file. */
const groupOf = ({ id }: Setting) => keyOf(id)?.group ?? optionOf(id)?.group ?? id;

/** What counts of a command line and a file, and what of the weaker one does not. */
export function merged(
  strong: readonly Setting[],
  weak: readonly Setting[],
): { readonly counts: readonly Setting[]; readonly ignored: readonly Setting[] } {
  const groups = new Set(strong.map(groupOf));
  return {
    counts: [...weak.filter(setting => !groups.has(groupOf(setting))), ...strong],
    ignored: weak.filter(setting => groups.has(groupOf(setting))),
  };
}
