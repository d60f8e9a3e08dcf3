import { SpawnletError } from '../../host/error.ts';
import type { Json } from '../../host/step.ts';
import { maxLinkName } from '../names.ts';
import { isCniName, type NetworkList, type PluginConfig } from './list.ts';
import { netnsPath } from './netns.ts';

/** A container's place in a network: what a plugin is told beside its configuration. */
export interface Attachment {
  /** The container's ID. */
  readonly container: string;
  /** Name of its network namespace, see netns.ts. */
  readonly netns: string;
  /** Name of its interface inside. */
  readonly interface: string;
  /** CNI_ARGS. */
  readonly args: Readonly<Record<string, string>>;
  readonly capabilities: Capabilities;
  /** Directories of the plugins, in the order in which they are searched. */
  readonly path: readonly string[];
}

/** What a runtime tells those plugins that take it; names and shapes are those of CNI's conventions. */
export interface Capabilities {
  readonly portMappings?: readonly PortMapping[];
  /** CIDR addresses that the container is to have. */
  readonly ips?: readonly string[];
  /** Hardware address. */
  readonly mac?: string;
  readonly dns?: {
    readonly servers?: readonly string[];
    readonly searches?: readonly string[];
    readonly options?: readonly string[];
  };
  /** Bits and bits per second. */
  readonly bandwidth?: {
    readonly ingressRate?: number;
    readonly ingressBurst?: number;
    readonly egressRate?: number;
    readonly egressBurst?: number;
  };
}

export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly hostIP?: string;
}

/** Where Debian's package containernetworking-plugins has them, and where networks of clusters put theirs. */
export const pluginPath = ['/usr/lib/cni', '/opt/cni/bin'];

export type Command = 'ADD' | 'DEL';

/** The variables that a plugin is run with. A namespace that is gone is named by nothing. */
export function environmentOf(command: Command, attachment: Attachment, netns: 'there' | 'gone') {
  const { container, args, path } = attachment;
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: container,
    CNI_NETNS: netns === 'there' ? netnsPath(attachment.netns) : '',
    CNI_IFNAME: attachment.interface,
    CNI_PATH: path.join(':'),
    CNI_ARGS: Object.entries(args)
      .map(([key, value]) => `${key}=${value}`)
      .join(';'),
  };
}

/** What a plugin reads on its standard input, but for the result of the one before it. */
export function inputOf(
  { name, cniVersion }: NetworkList,
  plugin: PluginConfig,
  capabilities: Capabilities,
): { readonly [key: string]: unknown } {
  const wanted = Object.entries(capabilities).filter(
    ([key, value]) => value !== undefined && plugin.capabilities?.[key] === true,
  );
  return {
    ...plugin,
    name,
    cniVersion,
    ...(wanted.length > 0 && { runtimeConfig: Object.fromEntries(wanted) as Json }),
  };
}

/** From this version of the specification on, plugins are given the recorded result when they take a container away. */
export const takesResultOnDelete = ({ cniVersion }: NetworkList): boolean => !cniVersion.startsWith('0.3.');

const refused = (message: string, hint: string) => new SpawnletError('ERR_CNI_ATTACHMENT', message, { hint });

/**
 * Refuses what the protocol cannot carry, and what no plugin of the network would heed: it would be left out silently.
 *
 * @throws ERR_CNI_ATTACHMENT
 */
export function checkAttachment(network: NetworkList, attachment: Attachment): void {
  const { container, netns, args, capabilities } = attachment;
  const { interface: link } = attachment;
  for (const [what, text] of [
    ['ID of a container', container],
    ['name of a network namespace', netns],
  ] as const)
    if (!isCniName(text))
      throw refused(`${JSON.stringify(text)} is no ${what}`, "letters, digits, '_', '.' and '-'");
  if (!/^[^\s/:]+$/.test(link) || link.length > maxLinkName || ['.', '..', 'lo'].includes(link))
    throw refused(`${JSON.stringify(link)} is no name of an interface`, 'as in eth0');
  for (const [key, value] of Object.entries(args))
    if (/[=;\s]/.test(key) || /[;\n\0]/.test(value))
      throw refused(`${key} cannot be told to a plugin`, "no ';' in values, no '=' in names");
  for (const [key, value] of Object.entries(capabilities))
    if (value !== undefined && !network.plugins.some(plugin => plugin.capabilities?.[key] === true))
      throw refused(
        `the network ${network.name} takes no ${key}: no plugin of it has that capability`,
        `"capabilities": {"${key}": true} of a plugin that has it, such as portmap, host-local, tuning, bandwidth`,
      );
}
