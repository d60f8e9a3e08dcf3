/** Who is reached in tests of networks, and who reaches: servers, and a host beyond this one. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { ended } from '../../src/host/child.ts';

const run = promisify(execFile);

/** Runs a command of this host to its end; what it printed. */
async function shell(...argv: [string, ...string[]]): Promise<string> {
  const [program, ...args] = argv;
  return (await run(program, args, { encoding: 'utf8', timeout: 60_000 })).stdout;
}

const server = `
process.title = 'echo';
const { createServer } = require('node:net');
const { createSocket } = require('node:dgram');
const [kind, host, port] = process.argv.slice(1);
const up = () => console.log('up');
if (kind === 'tcp') createServer(socket => socket.end(socket.remoteAddress + '\\n')).listen(port, host, up);
else {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (text, from) => socket.send(text, from.port, from.address)).bind(port, host, up);
}
process.stdin.resume().on('end', () => process.exit());
`;

/** A server in a network namespace: over TCP it says who asks, over UDP what it was told. It ends with the test. */
export async function serve(
  kind: 'tcp' | 'udp',
  address: string,
  port: number,
  where: readonly string[] = [],
) {
  const argv = [...where, process.execPath, '-e', server, kind, address, String(port)];
  const child = spawn('env', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const end = ended(child);
  await once(child.stdout, 'data');
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await end;
    },
  };
}

/** What a server says to who connects from here. */
export const ask = (address: string, port: number) =>
  shell('timeout', '3', 'bash', '-c', `cat </dev/tcp/${address}/${port}`);
export const refused = (address: string, port: number) =>
  assert.rejects(ask(address, port), { message: /Connection refused|timed out|Command failed/ });

/** A host beyond this one: a network namespace with a link to it. */
export async function useStation() {
  const name = 'station';
  const inside = (...argv: string[]) => shell('ip', 'netns', 'exec', name, ...argv);
  await shell('ip', 'netns', 'add', name);
  await shell('ip', 'link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'st0', 'netns', name);
  await shell('ip', 'address', 'add', '198.18.0.1/30', 'dev', 'out0');
  await shell('ip', 'link', 'set', 'out0', 'up');
  await inside('ip', 'address', 'add', '198.18.0.2/30', 'dev', 'st0');
  await inside('ip', 'link', 'set', 'st0', 'up');
  await inside('ip', 'route', 'add', 'default', 'via', '198.18.0.1');
  return {
    shell: inside,
    async [Symbol.asyncDispose]() {
      await shell('ip', 'link', 'delete', 'out0');
      await shell('ip', 'netns', 'delete', name);
    },
  };
}

/** Resolves when `look` no longer throws; rejects after ten seconds with what it threw last. */
export async function eventually<T>(look: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }
}
