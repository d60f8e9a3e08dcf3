/** The benchmark inside its lab: rows by the names in its arguments, all if there are none; prints the table. */
import { loadavg } from 'node:os';
import { startRegistry } from '../harness/registry.ts';
import { emptyPeers, emptyStore, surroundings } from './commands.ts';
import { machineRows } from './machine-rows.ts';
import { podRows } from './pod-rows.ts';
import { rows as appRows, type Setting } from './rows.ts';
import { type Row, render } from './table.ts';

const names = process.argv.slice(2);
const rows = { ...appRows, ...machineRows, ...podRows };
const counts = { quick: Number(process.env['QUICK'] ?? 20), slow: Number(process.env['SLOW'] ?? 10) };

await using registry = await startRegistry();
await emptyPeers();
const setting: Setting = { registry, signal: new AbortController().signal, ...counts };
const measured: Row[] = [];
const load = () =>
  loadavg()
    .map(value => value.toFixed(1))
    .join(' ');
const before = load();
for (const name of names.length > 0 ? names : Object.keys(rows)) {
  process.stderr.write(`measuring ${name}\n`);
  const row = await rows[name]?.(setting);
  if (row) measured.push(row);
}
process.stdout.write(render(measured));
for (const text of [...surroundings(), `load before ${before}, after ${load()}`])
  process.stdout.write(`- ${text}\n`);
await emptyStore();
await emptyPeers();
