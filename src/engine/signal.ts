import { constants } from 'node:os';
import { SpawnletError } from '../host/error.ts';

const realtimeMin = 34;
const realtimeMax = 64;

/**
 * The number of a signal: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`. The text may come from an image.
 *
 * @throws ERR_SIGNAL
 */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, '');
  const number = /^\d{1,2}$/.test(name) ? Number(name) : byName(name);
  if (number !== undefined && number >= 1 && number <= realtimeMax) return number;
  throw new SpawnletError('ERR_SIGNAL', `${JSON.stringify(text.slice(0, 40))} is no signal`, {
    hint: 'as in SIGTERM, HUP, 9, SIGRTMIN+3; kill -l lists them',
  });
}

function byName(name: string): number | undefined {
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realtime) {
    const offset = Number(`${realtime[2] ?? '+'}${realtime[3] ?? '0'}`);
    const number = (realtime[1] === 'MIN' ? realtimeMin : realtimeMax) + offset;
    return number >= realtimeMin && number <= realtimeMax ? number : undefined;
  }
  const known: Readonly<Record<string, number>> = constants.signals;
  return Object.hasOwn(known, `SIG${name}`) ? known[`SIG${name}`] : undefined;
}

/** `SIGTERM` for 15; `SIG42` for one without a name. */
export function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `SIG${number}`;
}
