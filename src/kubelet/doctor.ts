import type { Finding, Probe } from '../app/doctor/diagnosis.ts';
import { missing, note, ok } from '../app/doctor/diagnosis.ts';
import type { Host } from '../host/host.ts';
import { pluginPath } from '../network/cni/attachment.ts';
import { agentLock, agentUnit, agentUnitPath } from './unit.ts';

/** What pods need beside what containers do. Where no agent is installed, none of it is missing. */

/** Of the network that pods have by default; see ../network/cni/default.ts. */
const plugins = ['bridge', 'host-local'];

const isInstalled = async ({ files }: Host) => (await files.look(agentUnitPath)) !== undefined;

/** Whether the agent runs, as systemctl(1) says it. */
export function agentFinding(installed: boolean, state: string, byHand: boolean): Finding {
  if (state === 'active') return ok(`${agentUnit} runs`);
  if (byHand) return ok('it runs, and not as a unit');
  if (!installed) return note('no agent is installed: nobody runs pods here', 'spawnlet kubelet install');
  return missing(
    `${agentUnit} is ${state || 'not known to systemd'}`,
    `systemctl start ${agentUnit}; journalctl -u ${agentUnit} says why it ended`,
  );
}

const agent: Probe = {
  name: 'agent',
  purpose: 'runs pods, from manifests of Kubernetes',
  needs: ['systemd'],
  look: async ({ host }, signal) => {
    const { stdout } = await host.children.capture(['systemctl', 'is-active', agentUnit], { signal });
    const byHand = host.locks.holder(agentLock) !== undefined;
    return agentFinding(await isInstalled(host), stdout.toString().trim(), byHand);
  },
};

/** @param absent plugins that are in no directory */
export function pluginFinding(installed: boolean, absent: readonly string[]): Finding {
  if (absent.length === 0) return ok(`${plugins.join(' and ')} are there`);
  const text = `${absent.join(' and ')} ${absent.length === 1 ? 'is' : 'are'} not in ${pluginPath.join(' or ')}`;
  const fix = 'apt-get install containernetworking-plugins';
  return installed ? missing(text, fix) : note(text, fix);
}

const cni: Probe = {
  name: 'CNI plugins',
  purpose: 'give pods their network',
  needs: [],
  look: async ({ host }) => {
    const found = await Promise.all(
      plugins.map(async name => {
        const there = await Promise.all(pluginPath.map(path => host.files.look(`${path}/${name}`)));
        return there.some(entry => entry !== undefined) ? [] : [name];
      }),
    );
    return pluginFinding(await isInstalled(host), found.flat());
  },
};

export const podProbes: readonly Probe[] = [agent, cni];
