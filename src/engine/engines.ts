import { crun } from './crun.ts';
import type { Engine } from './engine.ts';
import { nspawn } from './nspawn.ts';

export const engines: Readonly<Record<'crun' | 'nspawn', Engine>> = { crun, nspawn };
