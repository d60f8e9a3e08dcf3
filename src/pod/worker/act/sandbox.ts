import { cgroupVersion } from '../../../engine/cgroup.ts';
import { defaultSeccomp } from '../../../engine/seccomp.ts';
import { SpawnletError } from '../../../host/error.ts';
import { podNetworkRecord } from '../../../names.ts';
import { readResult } from '../../../network/cni/record.ts';
import { lockNetwork } from '../../../network/nat.ts';
import { observeListeners } from '../../../network/observe.ts';
import { refusePorts } from '../../../network/ports.ts';
import { podsWithPorts, portHolders } from '../../../network/taken.ts';
import { anchorSteps } from '../../unit/anchor.ts';
import { planVolumes } from '../../volumes/plan.ts';
import { hostnameOf, hostsText, knownAsSteps, knownAsText, nameSteps, resolvText } from '../files.ts';
import { hostPorts, sandboxSteps, sharesProcesses } from '../sandbox.ts';
import { giveUsers, hasOwnUsers } from '../users.ts';
import { volumeFacts } from '../volumes.ts';
import { factsOf, messageText, type Work } from './work.ts';

/** Makes what a pod's containers share: slice and target, network, volumes, names. */
export async function makeSandbox(work: Work, signal: AbortSignal): Promise<void> {
  const { deps, identity, qos, record } = work;
  const { node, host } = deps;
  const { pod } = record;
  try {
    const network = pod.spec?.hostNetwork ? undefined : await deps.network();
    const users = hasOwnUsers(pod) ? await giveUsers(host, identity, signal) : undefined;
    {
      await using _network = await claimPorts(work, signal);
      await deps.perform(sandboxSteps(pod, identity, qos, node, network, users), signal);
    }
    if (sharesProcesses(pod)) {
      const seccomp = defaultSeccomp(await deps.profile(), []);
      const steps = anchorSteps(identity, qos, { seccomp, cgroups: cgroupVersion(), users });
      await deps.perform(steps, signal);
    }
    const volumes = await volumeFacts(deps, pod, identity, factsOf(work), record.teller(), signal);
    await deps.perform(planVolumes(pod, volumes), signal);
    const result = await readResult(host.files, podNetworkRecord(identity.uid));
    const ips = (result?.addresses ?? []).map(({ address }) => address.replace(/\/.*$/, ''));
    const reached = pod.spec?.hostNetwork ? node.addresses : ips;
    await writeNames(work, reached, signal);
    await tellNames(work, reached, signal);
    const resources = pod.spec?.resources;
    await record.observe(observed => ({
      ...observed,
      sandbox: { kind: 'ready', ips },
      ...(resources && { resources }),
    }));
  } catch (error) {
    signal.throwIfAborted();
    const message = messageText(error);
    const isVolume = error instanceof SpawnletError && /^ERR_(?:VOLUME|HOST_PATH|CLAIM)/.test(error.code);
    const what = isVolume ? 'volume' : 'network';
    const at = host.clock.now();
    await record.observe(observed => ({ ...observed, sandbox: { kind: 'failed', what, message, at } }));
  }
}

/**
 * Refuses ports of the host that something else has, and holds them until it is known that they are the pod's.
 *
 * @returns undefined for a pod that asks for none
 * @throws ERR_PORT_TAKEN
 */
async function claimPorts(
  { deps: { host }, identity, record: { pod } }: Work,
  signal: AbortSignal,
): Promise<AsyncDisposable | undefined> {
  const ports = hostPorts(pod);
  if (ports.length === 0) return undefined;
  const lock = await lockNetwork(host.locks, signal);
  try {
    const [listening, holders, pods] = await Promise.all([
      observeListeners(host.children, signal),
      portHolders(host.files),
      podsWithPorts(host.files, identity.uid),
    ]);
    refusePorts(
      { ports },
      { name: podName(identity), what: 'pod' },
      { machines: [...holders, ...pods], listening },
    );
    return lock;
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}

const podName = ({ namespace, name }: Work['identity']) => `${namespace}/${name}`;

async function writeNames(
  { deps, identity, record: { pod } }: Work,
  ips: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { node, host } = deps;
  const names = node.resolvConf
    ? [node.resolvConf]
    : ['/run/systemd/resolve/resolv.conf', '/etc/resolv.conf'];
  const [hosts = '', ...found] = await Promise.all(
    ['/etc/hosts', ...names].map(path => host.files.read(path)),
  );
  const resolv = found.find(text => text !== undefined) ?? '';
  const texts = {
    hosts: hostsText(pod, identity, node, ips, hosts),
    resolv: resolvText(pod, identity, node, resolv),
    hostname: hostnameOf(pod, identity, node),
  };
  await deps.perform(nameSteps(identity, texts), signal);
}

/** Has others find the pod by name. */
export async function tellNames(
  { deps, identity, record: { pod } }: Work,
  ips: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { node } = deps;
  await deps.perform(knownAsSteps(identity, node, knownAsText(pod, identity, node, ips)), signal);
}
