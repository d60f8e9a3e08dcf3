import type { Command, Group } from './command.ts';

/** A command before it is loaded: what `spawnlet help` shows, and where the rest is. */
export interface Entry {
  readonly name: string;
  readonly group: Group;
  readonly summary: string;
  /** Units run it, people do not: help leaves it out. */
  readonly hidden?: true;
  load(): Promise<Command>;
}

/** Every command. Only the one that is run is loaded: start-up time is part of the product. */
export const entries: readonly Entry[] = [
  {
    name: 'run',
    group: 'Containers',
    summary: 'Run an image as a systemd unit',
    load: async () => (await import('./run.ts')).run,
  },
  {
    name: 'ps',
    group: 'Containers',
    summary: 'List containers',
    load: async () => (await import('./ps.ts')).ps,
  },
  {
    name: 'inspect',
    group: 'Containers',
    summary: 'Show all that is known of containers',
    load: async () => (await import('./inspect.ts')).inspect,
  },
  {
    name: 'logs',
    group: 'Containers',
    summary: 'Show what a container wrote',
    load: async () => (await import('./logs.ts')).logs,
  },
  {
    name: 'exec',
    group: 'Containers',
    summary: 'Run a command in a running container',
    load: async () => (await import('./exec.ts')).exec,
  },
  {
    name: 'attach',
    group: 'Containers',
    summary: 'Connect to a running container',
    load: async () => (await import('./attach.ts')).attach,
  },
  {
    name: 'stop',
    group: 'Containers',
    summary: 'Stop containers',
    load: async () => (await import('./lifecycle.ts')).stop,
  },
  {
    name: 'start',
    group: 'Containers',
    summary: 'Start containers that were stopped',
    load: async () => (await import('./lifecycle.ts')).start,
  },
  {
    name: 'kill',
    group: 'Containers',
    summary: 'Send a signal to containers',
    load: async () => (await import('./lifecycle.ts')).kill,
  },
  {
    name: 'wait',
    group: 'Containers',
    summary: 'Wait until containers end, print their exit codes',
    load: async () => (await import('./lifecycle.ts')).wait,
  },
  {
    name: 'rm',
    group: 'Containers',
    summary: 'Remove containers',
    load: async () => (await import('./lifecycle.ts')).rm,
  },
  {
    name: 'refresh',
    group: 'Containers',
    summary: "Fetch a container's image anew, before its unit starts",
    hidden: true,
    load: async () => (await import('./refresh.ts')).refresh,
  },
  {
    name: 'image pull',
    group: 'Images',
    summary: 'Fetch an image and unpack it',
    load: async () => (await import('./image.ts')).pull,
  },
  {
    name: 'image ls',
    group: 'Images',
    summary: 'List images',
    load: async () => (await import('./image.ts')).ls,
  },
  {
    name: 'image inspect',
    group: 'Images',
    summary: 'Show an image’s configuration',
    load: async () => (await import('./image.ts')).inspect,
  },
  {
    name: 'image rm',
    group: 'Images',
    summary: 'Remove images',
    load: async () => (await import('./image.ts')).rm,
  },
  {
    name: 'image prune',
    group: 'Images',
    summary: 'Remove what no image or container uses',
    load: async () => (await import('./image.ts')).prune,
  },
  {
    name: 'base prepare',
    group: 'Machines',
    summary: 'Make a tree that machines are cloned from',
    load: async () => (await import('./base.ts')).prepare,
  },
  {
    name: 'base ls',
    group: 'Machines',
    summary: 'List bases',
    load: async () => (await import('./base.ts')).ls,
  },
  {
    name: 'base rm',
    group: 'Machines',
    summary: 'Remove bases',
    load: async () => (await import('./base.ts')).rm,
  },
  {
    name: 'base prune',
    group: 'Machines',
    summary: 'Remove bases that no machine is a clone of',
    load: async () => (await import('./base.ts')).prune,
  },
  {
    name: 'base build',
    group: 'Machines',
    summary: 'Build the tree of a base that is being prepared',
    hidden: true,
    load: async () => (await import('./base.ts')).build,
  },
  {
    name: 'lab up',
    group: 'Labs',
    summary: 'Boot an embedded systemd host',
    load: async () => (await import('./lab.ts')).up,
  },
  {
    name: 'lab status',
    group: 'Labs',
    summary: 'List labs',
    load: async () => (await import('./lab.ts')).status,
  },
  {
    name: 'lab exec',
    group: 'Labs',
    summary: 'Run a command in a lab',
    load: async () => (await import('./lab.ts')).exec,
  },
  {
    name: 'lab shell',
    group: 'Labs',
    summary: 'Open a terminal in a lab',
    load: async () => (await import('./lab.ts')).shell,
  },
  {
    name: 'lab cp',
    group: 'Labs',
    summary: 'Copy files to or from a lab',
    load: async () => (await import('./lab.ts')).cp,
  },
  {
    name: 'lab down',
    group: 'Labs',
    summary: 'End a lab and remove all it left',
    load: async () => (await import('./lab.ts')).down,
  },
  {
    name: 'doctor',
    group: 'Host',
    summary: 'Tell what this host can and cannot do',
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'version',
    group: 'Host',
    summary: 'Show versions',
    load: async () => (await import('./version.ts')).version,
  },
];

/** The command that the first words name, and the words after it. */
export function findEntry(argv: readonly string[]): { entry: Entry; rest: readonly string[] } | undefined {
  for (const length of [2, 1]) {
    const name = argv.slice(0, length).join(' ');
    const entry = entries.find(candidate => candidate.name === name);
    if (entry && argv.length >= length) return { entry, rest: argv.slice(length) };
  }
  return undefined;
}
