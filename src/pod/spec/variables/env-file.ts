/** Files of variables that a container of the pod has written: `NAME='value'`, in a small part of the shell's language. */

export type FileVariable =
  | { readonly kind: 'found'; readonly value: string }
  | { readonly kind: 'missing' }
  | { readonly kind: 'wrong'; readonly line: number; readonly why: string };

/**
 * The value of a variable. Values stand in single quotes, over several lines if they are long; comments and empty lines are
 * passed over. What comes after the variable is not looked at.
 */
export function variableOfFile(text: string, name: string): FileVariable {
  const lines = text.split('\n').map(line => line.replace(/\r$/, ''));
  for (let at = 0; at < lines.length; at++) {
    const line = (lines[at] ?? '').replace(/^[ \t]+/, '');
    if (line === '' || line.startsWith('#')) continue;
    const wrong = (why: string) => ({ kind: 'wrong', line: at + 1, why }) as const;
    const equals = line.indexOf('=');
    if (equals === -1) return wrong("has no '='");
    const key = line.slice(0, equals);
    if (key === '') return wrong("has no name before '='");
    if (/[ \t]$/.test(key)) return wrong("has a space before '='");
    let rest = line.slice(equals + 1);
    if (/^[ \t]/.test(rest)) {
      // As in a shell: the variable is empty, and the rest is something else.
      if (key === name) return { kind: 'missing' };
      continue;
    }
    if (!rest.startsWith("'")) return wrong('has a value that is not in single quotes');
    rest = rest.slice(1);
    const first = at;
    let value = '';
    while (!rest.includes("'")) {
      value += `${rest}\n`;
      at++;
      const next = lines[at];
      // The text behind the last newline is no line.
      if (next === undefined || (next === '' && at === lines.length - 1))
        return { kind: 'wrong', line: first + 1, why: 'has a quote that is not closed' };
      rest = next;
    }
    const end = rest.indexOf("'");
    if (!/^[ \t]*(?:#.*)?$/.test(rest.slice(end + 1))) return wrong('has something behind its value');
    value += rest.slice(0, end);
    if (key === name) return value === '' ? { kind: 'missing' } : { kind: 'found', value };
  }
  return { kind: 'missing' };
}
