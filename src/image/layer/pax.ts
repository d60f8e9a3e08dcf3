import { refuse } from './entry.ts';

/** Records of a PAX extended header, byte strings both; a later record of the same name wins. */
export type Records = ReadonlyMap<string, string>;

/** `LENGTH KEY=VALUE\n` and so on; the length counts the whole record. */
export function parseRecords(data: Buffer): Records {
  const records = new Map<string, string>();
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const digits = space === -1 || space - at > 8 ? '' : data.toString('latin1', at, space);
    if (!/^[1-9]\d*$/.test(digits)) throw refuse('ERR_LAYER_HEADER', 'a PAX record without a length');
    const end = at + Number(digits);
    const equals = data.indexOf(0x3d, space);
    if (end > data.length || equals === -1 || equals >= end || data[end - 1] !== 0x0a)
      throw refuse('ERR_LAYER_HEADER', 'a PAX record whose length is wrong');
    const key = data.toString('latin1', space + 1, equals);
    if (key === '' || key.includes('\0')) throw refuse('ERR_LAYER_HEADER', 'a PAX record with a bad name');
    records.set(key, data.toString('latin1', equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** The number's own digits may make the record longer by one, so it is found by trying. */
export function renderRecord(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

/** A whole number that is not negative. */
export function recordNumber(records: Records, key: string): number | undefined {
  const value = records.get(key);
  if (value === undefined || value === '') return undefined;
  const number = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number))
    throw refuse('ERR_LAYER_HEADER', `a PAX ${key} that is no number`, value);
  return number;
}

/** `SECONDS[.FRACTION]`, truncated to nanoseconds. */
export function recordTime(
  records: Records,
  key: string,
): { seconds: number; nanoseconds: number } | undefined {
  const value = records.get(key);
  if (value === undefined || value === '') return undefined;
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(value);
  if (!match) throw refuse('ERR_LAYER_HEADER', `a PAX ${key} that is no time`, value);
  const nanoseconds = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  return { seconds: match[1] ? -1 : Number(match[2]), nanoseconds };
}
