import { SpawnletError } from '../../../host/error.ts';
import type { Container } from '../../api/kubernetes.ts';
import { afterFailedPull } from '../../restart/backoff.ts';
import type { Start } from '../../restart/decision.ts';
import { commandOf, environmentOf } from '../../spec/environment.ts';
import { unitOf } from '../../unit/names.ts';
import { type MountFacts, mountsOf, planSubPaths } from '../../volumes/mounts.ts';
import { volumeDirectory } from '../../volumes/places.ts';
import { textInVolume } from '../../volumes/tree/read.ts';
import { containerIdOf, readTraces } from '../end.ts';
import { engineOf, type PreparedRun } from '../engine.ts';
import { startFailureOf } from '../failure.ts';
import { created, notStarted, running } from '../transition.ts';
import { isRecursive, volumeFacts } from '../volumes.ts';
import { follow, hasEnded, startOf } from './follow.ts';
import { askProbes, postStart } from './hooks.ts';
import { giveBeforeStart } from './resize.ts';
import { factsOf, memberOf, type Work } from './work.ts';

/** Variables and words of a container. @throws ERR_CONTAINER_CONFIG for what is not there and has to be */
function wordsOf(work: Work, container: Container) {
  const { deps, identity, record } = work;
  const { namespace, uid } = identity;
  const environment = environmentOf(
    record.pod,
    container,
    {
      configMap: name => deps.objects.configMap(namespace, name),
      secret: name => deps.objects.secret(namespace, name),
      file: (volume, path) => textInVolume(volumeDirectory(uid, 'empty-dir', volume), path),
      services: new Map(),
    },
    factsOf(work),
  );
  if (environment.kind === 'waiting') throw new SpawnletError('ERR_CONTAINER_CONFIG', environment.message);
  const { command, args } = commandOf(container, environment.variables);
  return {
    variables: environment.variables,
    ...(command && { command }),
    ...(args && { args }),
  };
}

/** Fetches and writes all that a run is made of. What it runs from is held until `begin` is over. */
async function prepare(
  work: Work,
  container: Container,
  begin: (prepared: PreparedRun) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { deps, identity, qos, record } = work;
  const { pod } = record;
  const tell = record.teller(container.name);
  const words = wordsOf(work, container);
  const facts: MountFacts = {
    ...(await volumeFacts(deps, pod, identity, factsOf(work), tell, signal)),
    variables: words.variables,
    recursiveReadOnly: isRecursive(),
  };
  const volumes = mountsOf(pod, container, facts);
  await deps.perform(planSubPaths(pod, container, facts), signal);
  const grace = pod.spec?.terminationGracePeriodSeconds ?? 30;
  const request = { pod, identity, qos, container, ...words, volumes, grace, tell };
  const prepared = await engineOf(pod).prepare(deps, request, signal);
  await using _held = await prepared.hold(signal);
  await deps.perform(prepared.steps, signal);
  await begin(prepared);
}

/** Starts the unit of a container, and follows its run from then on. */
async function begin(
  work: Work,
  start: Start,
  container: Container,
  prepared: PreparedRun,
  signal: AbortSignal,
): Promise<void> {
  const { deps, identity, record, runs, tasks } = work;
  const { name } = container;
  const { image, imageID } = prepared;
  await record.container(name, created({ image, imageID }));
  const systemd = await deps.systemd();
  const unit = unitOf(identity, name);
  const run = runs.watch(name, signal);
  const changes = systemd.watchUnit(unit, run);
  await giveBeforeStart(work, container, signal);
  try {
    await systemd.startUnit(unit, 'replace', signal);
  } catch (error) {
    // One that systemd waits for may have ended, or never begun, before it was up: that is a run all the same.
    const traces = await readTraces(deps.host.files, identity.uid, name);
    if (!traces.record && traces.error === '') throw error;
    return hasEnded(work, name, await systemd.unitProperties(unit, signal), signal);
  }
  const begun = await systemd.unitProperties(unit, signal);
  const begunRun = {
    attempt: start.attempt,
    restartCount: start.restartCount,
    containerID: containerIdOf(begun.InvocationID),
    startedAt: startOf(begun),
  };
  runs.begin(name, begunRun);
  tasks.run(() => follow(work, name, changes, begun, signal), signal);
  const hookFailed = await postStart(work, container, run);
  if (record.observed.containers[name]?.state.kind !== 'starting') return;
  await record.container(name, running({ ...begunRun, ...(hookFailed !== undefined && { hookFailed }) }));
  if (hookFailed === undefined) tasks.run(() => askProbes(work, container, 0, run), signal);
  await prepared.begun();
}

export async function startContainer(work: Work, start: Start, signal: AbortSignal): Promise<void> {
  const { deps, record } = work;
  const { clock } = deps.host;
  const { spec: container } = memberOf(work, start.container);
  try {
    await prepare(work, container, prepared => begin(work, start, container, prepared, signal), signal);
  } catch (error) {
    signal.throwIfAborted();
    const failure = startFailureOf(error, clock.now());
    const before = record.observed.containers[container.name];
    const backOff =
      failure.reason === 'ErrImagePull' && before
        ? afterFailedPull(container, before, clock.now(), deps.limits)
        : undefined;
    await record.container(container.name, notStarted(failure, backOff));
  }
}
