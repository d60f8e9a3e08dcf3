import { readFile } from 'node:fs/promises';
import { parseProfile, profilePath } from '../engine/seccomp.ts';
import { messageOf } from '../host/error.ts';
import { Agent } from '../kubelet/agent.ts';
import { desiredPods } from '../kubelet/desired.ts';
import { readManifests, watchManifests } from '../kubelet/manifests.ts';
import { networkSetUp, standaloneNode } from '../kubelet/node.ts';
import { kubeletLimits } from '../pod/restart/backoff.ts';
import type { WorkerDependencies } from '../pod/worker/dependencies.ts';
import { defineCommand } from './command.ts';
import type { Context } from './context.ts';

const defaultManifests = '/etc/spawnlet/manifests';

const say = (line: string) => void process.stderr.write(`${line}\n`);

async function dependencies(context: Context): Promise<WorkerDependencies> {
  const applier = await context.applier();
  return {
    ...(await context.images()),
    host: context.host,
    node: standaloneNode(),
    objects: { configMap: () => undefined, secret: () => undefined },
    limits: kubeletLimits(),
    systemd: () => context.systemd(),
    perform: (steps, signal) => applier.perform(steps, signal),
    profile: async () => parseProfile(await readFile(profilePath, 'utf8'), profilePath),
    changed: () => undefined,
    event: ({ metadata = {} }, { type, reason, message, field }) =>
      say(`${type} ${metadata.namespace}/${metadata.name} ${field ?? ''} ${reason}: ${message}`),
  };
}

export const kubelet = defineCommand({
  name: 'kubelet',
  group: 'Pods',
  summary: 'Run the pods of this host',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: {
    'pod-manifest-path': { type: 'string', value: 'DIR', help: `manifests to run (${defaultManifests})` },
  },
  examples: [['spawnlet kubelet --pod-manifest-path /etc/spawnlet/manifests', 'in the foreground']],
  async run({ options }, context) {
    const { signal, host } = context;
    const directory = options['pod-manifest-path'] ?? defaultManifests;
    const deps = await dependencies(context);
    await deps.perform(networkSetUp(), signal);
    const agent = new Agent(deps, signal, error => say(messageOf(error)));
    await agent.takeUp();
    await watchManifests(
      host.files,
      directory,
      async () => {
        try {
          await agent.sync(await desiredPods(await readManifests(host.files, directory)));
        } catch (error) {
          say(messageOf(error));
        }
      },
      signal,
    );
    await agent.ended();
    return 0;
  },
});
