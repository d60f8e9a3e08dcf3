import type { ContainerStatus, Pod } from '../pod/api/kubernetes.ts';
import type { KnownPod } from '../pod/worker/known.ts';

/** A pod as `kubectl get` shows it. */

const waitingReason = ({ state }: ContainerStatus) => state?.waiting?.reason;

function endOf({ state }: ContainerStatus): string | undefined {
  const end = state?.terminated;
  if (!end) return undefined;
  if (end.reason) return end.reason;
  return end.signal ? `Signal:${end.signal}` : `ExitCode:${end.exitCode}`;
}

/** What holds an init container up, as `Init:CrashLoopBackOff` or `Init:1/2`; undefined if all are done. */
function initialization(pod: Pod): string | undefined {
  const all = pod.status?.initContainerStatuses ?? [];
  const sidecars = new Set(
    (pod.spec?.initContainers ?? []).filter(each => each.restartPolicy === 'Always').map(({ name }) => name),
  );
  for (const [at, each] of all.entries()) {
    if (each.state?.terminated?.exitCode === 0) continue;
    if (sidecars.has(each.name) && each.started) continue;
    const why = endOf(each) ?? waitingReason(each);
    return why && why !== 'PodInitializing' ? `Init:${why}` : `Init:${at}/${all.length}`;
  }
  return undefined;
}

/** The column STATUS. */
export function statusWord(pod: Pod): string {
  const { status, metadata } = pod;
  if (metadata?.deletionTimestamp) return 'Terminating';
  const held = initialization(pod);
  if (held !== undefined) return held;
  const words = (status?.containerStatuses ?? []).map(each => waitingReason(each) ?? endOf(each));
  const found = words.find(word => word !== undefined);
  const isRunning = (status?.containerStatuses ?? []).some(({ state, ready }) => state?.running && ready);
  if (found === 'Completed' && isRunning)
    return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True')
      ? 'Running'
      : 'NotReady';
  return found ?? status?.reason ?? status?.phase ?? 'Pending';
}

/** Ready and all containers, sidecars among them. */
export function readyCount(pod: Pod): readonly [ready: number, all: number] {
  const sidecars = (pod.spec?.initContainers ?? []).filter(each => each.restartPolicy === 'Always');
  const names = new Set([...sidecars, ...(pod.spec?.containers ?? [])].map(({ name }) => name));
  const known = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  return [known.filter(({ name, ready }) => names.has(name) && ready).length, names.size];
}

export const restarts = (pod: Pod): number =>
  [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])].reduce(
    (sum, each) => sum + each.restartCount,
    0,
  );

const statusesOf = ({ status }: Pod) => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
];

const oneLine = (text: string) => text.trim().replaceAll(/\s*\n\s*/g, '; ');

/** Why a pod is not ready, in one line; undefined if nothing has gone wrong. */
export function trouble({ pod, kept }: Pick<KnownPod, 'pod' | 'kept'>): string | undefined {
  const { sandbox } = kept.observed;
  const waiting = statusesOf(pod).find(({ state }) => state?.waiting?.message)?.state?.waiting?.message;
  const warned = kept.events?.findLast(({ type }) => type === 'Warning');
  const text = sandbox.kind === 'failed' ? sandbox.message : (waiting ?? warned?.message);
  return text === undefined ? undefined : oneLine(text);
}

/** How the first container that failed ended: `main: Error, exit code 3`. */
export function endText(pod: Pod): string | undefined {
  const found = statusesOf(pod).find(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0);
  const end = found?.state?.terminated;
  if (!found || !end) return pod.status?.message;
  const said = end.message ? `: ${oneLine(end.message)}` : '';
  return `${found.name}: ${end.reason ?? 'Error'}, exit code ${end.exitCode}${said}`;
}
