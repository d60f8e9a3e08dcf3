import type { Terminated } from './observed.ts';

/** How a run ended, as its record has it. */
export interface Exit {
  readonly exitCode: number;
  readonly oomKilled: boolean;
}

/** The reason that Kubernetes gives for an end. An exit code of 137 alone says nothing of memory. */
export function reasonOf(exit: Exit): 'Completed' | 'OOMKilled' | 'Error' {
  if (exit.oomKilled) return 'OOMKilled';
  return exit.exitCode === 0 ? 'Completed' : 'Error';
}

/** Of a run that was begun and is gone, with no record of its end: as the kubelet has it, it failed. */
export function lost(
  run: Pick<Terminated, 'attempt' | 'restartCount' | 'containerID' | 'startedAt'>,
  now: number,
): Terminated {
  return {
    kind: 'terminated',
    attempt: run.attempt,
    restartCount: run.restartCount,
    containerID: run.containerID,
    ...(run.startedAt !== undefined && { startedAt: run.startedAt }),
    ...unknownEnd,
    finishedAt: now,
  };
}

export const unknownEnd = {
  exitCode: 137,
  reason: 'ContainerStatusUnknown',
  message: 'The container could not be located when the pod was terminated',
} as const;

/** The engine could not make the container: as containerd tells it. */
export const startError = 'StartError';
