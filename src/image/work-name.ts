import { type Holder, unique } from '../host/process.ts';

/** A name for what only this process needs: it says who that is, so that others can tell when it is left over. */
export function temporaryName({ pid, start, boot }: Holder): string {
  return `tmp-${pid}-${start}-${boot}-${unique()}`;
}

/** Who made a {@link temporaryName}; undefined if the name is none. */
export function holderOf(name: string): Holder | undefined {
  const match = /^tmp-(\d+)-(\d+)-(.+)-[0-9a-f]{8}$/.exec(name);
  if (!match) return undefined;
  const [, pid, start = '', boot = ''] = match;
  return { pid: Number(pid), start, boot, command: '' };
}
