import { join } from 'node:path';
import { check } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Executors } from '../host/step.ts';
import { readResult } from './cni/record.ts';
import { cniBridge, nft, portsDirectory, unpublishOf } from './nat-bridge.ts';
import { portsText } from './ports.ts';
import type { PublishedPort } from './spec.ts';
import { addressOf } from './subnet.ts';

/**
 * Steps that publish ports of containers on the default CNI network: elements of the maps in the rules of its bridge, whose
 * unit has to be up. They are noted in a file, so that rules that are loaded again come with them.
 */
export type PublishStep =
  | {
      readonly do: 'publish-ports';
      /** The container's ID. */
      readonly name: string;
      /** Directory of its record of that network, which has its addresses once it is added. */
      readonly record: string;
      readonly ports: readonly PublishedPort[];
    }
  | { readonly do: 'unpublish-ports'; readonly name: string };

const pathOf = (name: string) => join(portsDirectory(cniBridge), `${name}.nft`);
/** Noted before it is published: the rules are not loaded with it. */
const notedOf = (name: string) => `${pathOf(name)}~`;

const shown = ({ address, hostPort, port, protocol }: PublishedPort) =>
  `${address === undefined ? '' : `${address}:`}${hostPort}:${port}/${protocol}`;

/** Executors of {@link PublishStep}. */
export function publishExecutors({
  files,
  children,
}: Pick<Host, 'files' | 'children'>): Executors<PublishStep> {
  async function textOf(step: PublishStep & { do: 'publish-ports' }): Promise<string | undefined> {
    const result = await readResult(files, step.record);
    const addresses = result?.addresses.map(({ address }) => addressOf(address));
    return addresses && portsText(step.name, cniBridge.table, addresses, step.ports);
  }

  /** The files go last: with them, it is known what to take back. */
  async function unpublish(name: string): Promise<void> {
    const paths = [notedOf(name), pathOf(name)];
    const texts = await Promise.all(paths.map(path => files.read(path)));
    const found = texts.flatMap(text =>
      Array.from((text ?? '').matchAll(/ : (\S+) \. \d+ \}$/gm), match => match[1] ?? ''),
    );
    // Without the bridge there is no table, and nothing to take back.
    if (found.length > 0) await children.capture(['/bin/sh', unpublishOf(cniBridge), ...new Set(found)]);
    for (const path of paths) await files.remove(path);
  }

  return {
    'publish-ports': {
      describe: ({ name, ports }) => `publish ports of ${name}: ${ports.map(shown).join(', ')}`,
      satisfied: async step => {
        const text = await textOf(step);
        return text !== undefined && (await files.read(pathOf(step.name))) === text;
      },
      apply: async (step, signal) => {
        await unpublish(step.name);
        const text = await textOf(step);
        if (text === undefined)
          throw new SpawnletError(
            'ERR_CNI_ATTACHMENT',
            `${step.name} is in no network that gives it an address`,
            {
              hint: `${step.record} has what its network gave`,
            },
          );
        await files.makeDirectory(portsDirectory(cniBridge), 0o700);
        await files.write(notedOf(step.name), text, 0o600);
        await check(children, [nft, '-f', notedOf(step.name)], { signal });
        await files.move(notedOf(step.name), pathOf(step.name));
      },
      undo: step => unpublish(step.name),
    },
    'unpublish-ports': {
      describe: ({ name }) => `take back the ports of ${name}`,
      satisfied: async ({ name }) =>
        (await files.look(pathOf(name))) === undefined && (await files.look(notedOf(name))) === undefined,
      apply: ({ name }) => unpublish(name),
    },
  };
}
