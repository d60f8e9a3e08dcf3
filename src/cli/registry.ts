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
    name: 'kubelet',
    group: 'Pods',
    summary: 'Run the pods of this host',
    load: async () => (await import('./kubelet.ts')).kubelet,
  },
  {
    name: 'kubelet install',
    group: 'Pods',
    summary: 'Run the agent as a unit, now and at boot',
    load: async () => (await import('./kubelet.ts')).install,
  },
  {
    name: 'kubelet uninstall',
    group: 'Pods',
    summary: 'Take the unit of the agent away; pods go on',
    load: async () => (await import('./kubelet.ts')).uninstall,
  },
  {
    name: 'pod ls',
    group: 'Pods',
    summary: 'List pods',
    load: async () => (await import('./pod.ts')).ls,
  },
  {
    name: 'pod get',
    group: 'Pods',
    summary: 'Show a pod as the API has it, with its status',
    load: async () => (await import('./pod.ts')).get,
  },
  {
    name: 'pod describe',
    group: 'Pods',
    summary: 'Tell how a pod is doing, and its units',
    load: async () => (await import('./pod.ts')).describe,
  },
  {
    name: 'pod events',
    group: 'Pods',
    summary: 'Show what has happened to pods, as the kubelet tells it',
    load: async () => (await import('./pod-events.ts')).events,
  },
  {
    name: 'pod exec',
    group: 'Pods',
    summary: 'Run a command in a container of a pod',
    load: async () => (await import('./pod-exec.ts')).exec,
  },
  {
    name: 'pod attach',
    group: 'Pods',
    summary: 'Connect to a running container of a pod',
    load: async () => (await import('./pod-attach.ts')).attach,
  },
  {
    name: 'pod cp',
    group: 'Pods',
    summary: 'Copy files to or from containers of pods',
    load: async () => (await import('./pod-cp.ts')).cp,
  },
  {
    name: 'pod port-forward',
    group: 'Pods',
    summary: 'Lead ports of this host to ports of a pod',
    load: async () => (await import('./pod-forward.ts')).portForward,
  },
  {
    name: 'pod top',
    group: 'Pods',
    summary: 'Show what pods use',
    load: async () => (await import('./pod-top.ts')).top,
  },
  {
    name: 'pod logs',
    group: 'Pods',
    summary: 'Show what a container of a pod wrote',
    load: async () => (await import('./pod-logs.ts')).logs,
  },
  {
    name: 'pod apply',
    group: 'Pods',
    summary: 'Have manifests run',
    load: async () => (await import('./pod-apply.ts')).apply,
  },
  {
    name: 'pod rm',
    group: 'Pods',
    summary: 'Have an object run no more',
    load: async () => (await import('./pod-rm.ts')).rm,
  },
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
    name: 'healthcheck run',
    group: 'Containers',
    summary: 'Ask a container whether it is well',
    load: async () => (await import('./healthcheck.ts')).healthcheck,
  },
  {
    name: 'become',
    group: 'Containers',
    summary: 'Become a command of a container',
    hidden: true,
    load: async () => (await import('./become.ts')).become,
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
    name: 'machine create',
    group: 'Machines',
    summary: 'Make a machine',
    load: async () => (await import('./machine-create.ts')).create,
  },
  {
    name: 'machine apply',
    group: 'Machines',
    summary: 'Make machines what files say',
    load: async () => (await import('./machine-create.ts')).apply,
  },
  {
    name: 'machine edit',
    group: 'Machines',
    summary: 'Change a machine in an editor',
    load: async () => (await import('./machine-create.ts')).edit,
  },
  {
    name: 'machine set',
    group: 'Machines',
    summary: 'Change settings of a machine',
    load: async () => (await import('./machine-create.ts')).set,
  },
  {
    name: 'machine start',
    group: 'Machines',
    summary: 'Start machines, and wait until they have booted',
    load: async () => (await import('./machine-lifecycle.ts')).start,
  },
  {
    name: 'machine stop',
    group: 'Machines',
    summary: 'Stop machines',
    load: async () => (await import('./machine-lifecycle.ts')).stop,
  },
  {
    name: 'machine restart',
    group: 'Machines',
    summary: 'Stop machines and start them again',
    load: async () => (await import('./machine-lifecycle.ts')).restart,
  },
  {
    name: 'machine kill',
    group: 'Machines',
    summary: 'Send a signal to machines',
    load: async () => (await import('./machine-lifecycle.ts')).kill,
  },
  {
    name: 'machine enable',
    group: 'Machines',
    summary: 'Start machines at boot',
    load: async () => (await import('./machine-lifecycle.ts')).enable,
  },
  {
    name: 'machine disable',
    group: 'Machines',
    summary: 'Do not start machines at boot',
    load: async () => (await import('./machine-lifecycle.ts')).disable,
  },
  {
    name: 'machine rm',
    group: 'Machines',
    summary: 'Remove machines or snapshots',
    load: async () => (await import('./machine-lifecycle.ts')).rm,
  },
  {
    name: 'machine rename',
    group: 'Machines',
    summary: 'Give a machine another name',
    load: async () => (await import('./machine-lifecycle.ts')).rename,
  },
  {
    name: 'machine ls',
    group: 'Machines',
    summary: 'List machines',
    load: async () => (await import('./machine-list.ts')).ls,
  },
  {
    name: 'machine status',
    group: 'Machines',
    summary: 'Show machines and their settings',
    load: async () => (await import('./machine-list.ts')).status,
  },
  {
    name: 'machine shell',
    group: 'Machines',
    summary: 'Open a shell in a machine',
    load: async () => (await import('./machine-enter.ts')).shell,
  },
  {
    name: 'machine login',
    group: 'Machines',
    summary: 'Log in to a machine',
    load: async () => (await import('./machine-enter.ts')).login,
  },
  {
    name: 'machine exec',
    group: 'Machines',
    summary: 'Run a command in a machine',
    load: async () => (await import('./machine-enter.ts')).exec,
  },
  {
    name: 'machine logs',
    group: 'Machines',
    summary: 'Show the journal of a machine',
    load: async () => (await import('./machine-enter.ts')).logs,
  },
  {
    name: 'machine cp',
    group: 'Machines',
    summary: 'Copy files to or from machines',
    load: async () => (await import('./machine-enter.ts')).cp,
  },
  {
    name: 'machine top',
    group: 'Machines',
    summary: 'Show what machines take of the host',
    load: async () => (await import('./machine-enter.ts')).top,
  },
  {
    name: 'machine snapshot',
    group: 'Machines',
    summary: 'Keep a machine as it is now',
    load: async () => (await import('./machine-copies.ts')).snapshot,
  },
  {
    name: 'machine restore',
    group: 'Machines',
    summary: 'Make a machine what it was',
    load: async () => (await import('./machine-copies.ts')).restore,
  },
  {
    name: 'machine snapshots',
    group: 'Machines',
    summary: 'List snapshots of a machine',
    load: async () => (await import('./machine-copies.ts')).snapshots,
  },
  {
    name: 'machine clone',
    group: 'Machines',
    summary: 'Make a machine like another',
    load: async () => (await import('./machine-copies.ts')).clone,
  },
  {
    name: 'machine export',
    group: 'Machines',
    summary: 'Write a machine to an archive',
    load: async () => (await import('./machine-copies.ts')).exportMachine,
  },
  {
    name: 'machine import',
    group: 'Machines',
    summary: 'Make a machine from an archive of export',
    load: async () => (await import('./machine-copies.ts')).importMachine,
  },
  {
    name: 'machine passwd',
    group: 'Machines',
    summary: 'Set a password in a machine',
    load: async () => (await import('./machine-owner.ts')).passwd,
  },
  {
    name: 'machine eject',
    group: 'Machines',
    summary: "Forget machines; systemd's own files stay",
    load: async () => (await import('./machine-owner.ts')).eject,
  },
  {
    name: 'machine adopt',
    group: 'Machines',
    summary: 'Take over a machine that is there, and say what was understood',
    load: async () => (await import('./machine-owner.ts')).adopt,
  },
  {
    name: 'machine profiles',
    group: 'Machines',
    summary: 'Explain what each profile allows, line by line',
    load: async () => (await import('./machine-list.ts')).profiles,
  },
  {
    name: 'machine schema',
    group: 'Machines',
    summary: 'Print the JSON schema of kind: Machine',
    load: async () => (await import('./machine-list.ts')).schema,
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
    name: 'network ls',
    group: 'Machines',
    summary: 'List bridges that machines can be on',
    load: async () => (await import('./network.ts')).ls,
  },
  {
    name: 'network create',
    group: 'Machines',
    summary: 'Make a bridge for machines that is there after a boot',
    load: async () => (await import('./network.ts')).create,
  },
  {
    name: 'network rm',
    group: 'Machines',
    summary: 'Remove a bridge that spawnlet made',
    load: async () => (await import('./network.ts')).rm,
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
    summary: 'End labs and remove all they left',
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
