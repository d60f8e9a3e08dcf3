import { SpawnletError } from '../../host/error.ts';

/** What a network gave a container: the result of its last plugin. */
export interface AddResult {
  readonly addresses: readonly GivenAddress[];
  readonly dns: {
    readonly nameservers: readonly string[];
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
}

export interface GivenAddress {
  /** CIDR. */
  readonly address: string;
  readonly gateway?: string;
}

interface ResultJson {
  readonly ips?: readonly { readonly address?: string; readonly gateway?: string }[];
  readonly dns?: {
    readonly nameservers?: readonly string[];
    readonly search?: readonly string[];
    readonly options?: readonly string[];
  };
}

/** Reads a recorded result of version 0.3 to 1.0 of the specification. */
export function parseResult(text: string): AddResult {
  const { ips = [], dns = {} } = JSON.parse(text) as ResultJson;
  return {
    addresses: ips.flatMap(({ address, gateway }) =>
      address === undefined ? [] : [{ address, ...(gateway !== undefined && { gateway }) }],
    ),
    dns: { nameservers: dns.nameservers ?? [], search: dns.search ?? [], options: dns.options ?? [] },
  };
}

/** How a plugin has failed. */
export interface Failure {
  readonly network: string;
  /** Its type. */
  readonly plugin: string;
  readonly command: 'ADD' | 'DEL';
  /** Exit code as a shell tells it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Codes of the specification that say what could be done about it. */
const hints: Readonly<Record<number, string>> = {
  1: 'another "cniVersion" in the network\'s .conflist, or a newer plugin',
  2: 'the plugin does not know a setting of the .conflist; it is named',
  3: 'the container is not in this network any more',
  4: 'the plugin takes another name of an interface, or other arguments',
  5: 'what the plugin asked was not reached; try again',
  6: 'the plugin could not read its settings: look at the .conflist',
  7: 'the .conflist says something that the plugin cannot do; it is named',
  11: 'the plugin asks to be asked again later',
};

const notFound = 127;

/** What people read when a plugin has failed: its own words, the code of the specification and what can be done. */
export function pluginFailed(failure: Failure): SpawnletError {
  const { network, plugin, command, code, stdout, stderr } = failure;
  const told = errorOf(stdout);
  const did = command === 'ADD' ? 'did not connect' : 'did not disconnect';
  const words =
    told === undefined
      ? `${stderr.trim().split('\n').at(-1) || 'it said nothing'} (exit code ${code})`
      : `${told.message} (code ${told.code})`;
  return new SpawnletError('ERR_CNI_PLUGIN', `plugin ${plugin} of network ${network} ${did}: ${words}`, {
    hint: hintOf(told, code),
  });
}

function hintOf(told: ErrorJson | undefined, code: number): string {
  if (told && /no IP addresses available/.test(told.message))
    return 'the range of the network is used up: a wider one in its .conflist';
  if (told?.code !== undefined && hints[told.code] !== undefined) return hints[told.code] ?? '';
  return code === notFound
    ? 'apt-get install containernetworking-plugins'
    : 'its words above say why; the .conflist has its settings';
}

interface ErrorJson {
  readonly code: number;
  readonly message: string;
}

function errorOf(text: string): ErrorJson | undefined {
  try {
    const { code, msg, details } = JSON.parse(text) as { code?: number; msg?: string; details?: string };
    if (typeof code !== 'number') return undefined;
    return { code, message: [msg, details].filter(Boolean).join(': ') || 'it said nothing' };
  } catch {
    return undefined;
  }
}
