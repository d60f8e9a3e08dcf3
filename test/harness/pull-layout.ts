/** Pulls `oci:LAYOUT:t` into STORE: a process for tests to run beside others, and to kill. */
import { realHost } from '../../src/host/host.ts';
import { pull } from '../../src/image/pull.ts';
import { openSource } from '../../src/image/source-of.ts';
import { openStore } from '../../src/image/store.ts';

const [layout = '', directory = '', locks = ''] = process.argv.slice(2);
const host = realHost(locks, 'pull-layout');
const { signal } = new AbortController();
const store = await openStore(directory, host);
await using source = await openSource(
  { transport: 'oci', path: layout, tag: 't' },
  { host, env: {} },
  signal,
);
await pull(store, source, host, {}, signal);
