import { isIP } from 'node:net';
import { SpawnletError } from '../host/error.ts';
import { Forwarder, parseForwarding } from '../pod/access/forward.ts';
import { members } from '../pod/status/roles.ts';
import { targetOf } from '../pod/unit/names.ts';
import { getPod } from '../pod/worker/known.ts';
import { podNetns } from '../pod/worker/sandbox.ts';
import { defineCommand } from './command.ts';
import { namespaceOf, namespaceOption } from './pod.ts';

/** `localhost`, and addresses of this host; commas are between them as kubectl has it. @throws ERR_FLAG_VALUE */
function parseAddresses(texts: readonly string[]): readonly string[] {
  const all = texts.flatMap(text => text.split(','));
  const wrong = all.find(text => text !== 'localhost' && isIP(text) === 0);
  if (wrong === undefined) return all.length > 0 ? all : ['localhost'];
  throw new SpawnletError('ERR_FLAG_VALUE', `'${wrong}' is no address`, {
    hint: 'an address of this host, 0.0.0.0 for all, or localhost',
  });
}

const shown = (address: string) => (isIP(address) === 6 ? `[${address}]` : address);

export const portForward = defineCommand({
  name: 'pod port-forward',
  group: 'Pods',
  summary: 'Lead ports of this host to ports of a pod',
  synopsis: '[FLAG…] POD [LOCAL:]REMOTE…',
  arity: [2, Number.POSITIVE_INFINITY],
  options: {
    ...namespaceOption,
    address: { type: 'strings', value: 'ADDRESS', help: 'of this host to listen on (localhost)' },
  },
  examples: [
    ['spawnlet pod port-forward web 8080:80', 'port 80 of the pod, while the command runs'],
    ['spawnlet pod port-forward --address 0.0.0.0 web :http 5432', 'a free port, and one of the same number'],
  ],
  async run({ options, arguments: [name = '', ...words] }, context) {
    const { host, signal } = context;
    const addresses = parseAddresses(options.address);
    const { pod, identity, kept } = await getPod(host.files, namespaceOf(options), name);
    const all = words.map(word =>
      parseForwarding(
        word,
        members(pod).map(({ spec }) => spec),
      ),
    );
    const { sandbox } = kept.observed;
    if (sandbox.kind !== 'ready' || pod.status?.phase !== 'Running')
      throw new SpawnletError('ERR_NOT_RUNNING', `pod ${name} is not running`, {
        hint: `spawnlet pod describe ${name}`,
      });
    const systemd = await context.systemd();
    const ready = Promise.withResolvers<void>();
    await using forwarder = new Forwarder(
      {
        listening: (address, local, remote) =>
          void process.stdout.write(`Forwarding from ${shown(address)}:${local} -> ${remote}\n`),
        connected: local => void process.stdout.write(`Handling connection for ${local}\n`),
        failed: (local, remote, why) =>
          void process.stderr.write(`port ${local}: nothing answers at port ${remote} of ${name}: ${why}\n`),
      },
      ready.promise,
    );
    for (const each of all) await forwarder.listen(each, addresses);
    if (!pod.spec?.hostNetwork) {
      const { enterNetns } = await import('../network/enter.ts');
      await enterNetns(podNetns(identity));
    }
    ready.resolve();
    await systemd.waitUntil(
      targetOf(identity),
      ({ ActiveState }) => ActiveState === 'inactive' || ActiveState === 'failed',
      signal,
    );
    throw new SpawnletError('ERR_POD_GONE', `pod ${name} has ended, nothing is forwarded any more`, {
      hint: `spawnlet pod get ${name}`,
    });
  },
});
