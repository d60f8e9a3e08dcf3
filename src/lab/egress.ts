import { join } from 'node:path';
import { check } from '../host/child.ts';
import type { Files } from '../host/files.ts';
import type { Host } from '../host/host.ts';
import type { Executor } from '../host/step.ts';
import { bridge, inNetwork, networksDirectory } from './network.ts';
import { readRecords } from './record.ts';

/** Lets one lab reach what the host reaches. */
export interface OpenEgress {
  readonly do: 'open-egress';
  readonly network: string;
  readonly lab: string;
  readonly address: string;
}

/** Takes a network's way out back, if none of its labs but `lab` has one. */
export interface CloseEgress {
  readonly do: 'close-egress';
  readonly network: string;
  readonly lab: string;
  readonly address: string;
}

/** What was changed on the host for a network's way out: written before it is. */
interface EgressRecord {
  /** Of 10.78.N.0/30, of the link's name and of the rules' table. */
  readonly index: number;
  /** What /proc/sys/net/ipv4/ip_forward was. */
  readonly forwarding: string;
  /** Whether the host's FORWARD chain drops by default, so that it needs two rules of ours. */
  readonly chain: 'drops' | 'passes';
}

const forwardingPath = '/proc/sys/net/ipv4/ip_forward';
const suffix = '.egress';
const recordPath = (network: string) => join(networksDirectory, `${network}${suffix}`);
const linkOf = ({ index }: EgressRecord) => `spawnlet-nat${index}`;

async function readEgress(files: Files, network: string): Promise<EgressRecord | undefined> {
  const text = await files.read(recordPath(network));
  return text === undefined ? undefined : (JSON.parse(text) as EgressRecord);
}

async function allEgress(files: Files): Promise<EgressRecord[]> {
  const names = (await files.list(networksDirectory)).filter(name => name.endsWith(suffix));
  const records = await Promise.all(names.map(name => readEgress(files, name.slice(0, -suffix.length))));
  return records.filter(record => record !== undefined);
}

/** Rules of the host: a table of ours alone, which goes as a whole. */
const hostRules = ({ index }: EgressRecord) => `table ip spawnlet_lab_${index} {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.78.${index}.0/30 masquerade
  }
}
`;

/** Rules in the network's namespace: only labs that were made with a way out have one. */
const networkRules = `table ip lab {
  set egress { type ipv4_addr; }
  chain forward {
    type filter hook forward priority filter; policy drop
    iifname "${bridge}" oifname "${bridge}" accept
    iifname "uplink" ct state established,related accept
    ip saddr @egress iifname "${bridge}" oifname "uplink" accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "uplink" masquerade
  }
}
`;

const chainRules = (record: EgressRecord): string[][] => [
  ['FORWARD', '--in-interface', linkOf(record), '--jump', 'ACCEPT'],
  [
    'FORWARD',
    '--out-interface',
    linkOf(record),
    '--match',
    'conntrack',
    '--ctstate',
    'RELATED,ESTABLISHED',
    '--jump',
    'ACCEPT',
  ],
];

/** Executors of a network's way out: a veth pair to the host, masqueraded at both of its ends. */
export function egressExecutors({ files, children }: Host): {
  'open-egress': Executor<OpenEgress>;
  'close-egress': Executor<CloseEgress>;
} {
  const inside = (network: string, argv: readonly string[], input?: string) =>
    check(children, inNetwork(network, argv), input === undefined ? {} : { input });
  const succeeds = async (argv: readonly string[]) => (await children.capture(argv)).code === 0;
  const setForwarding = (value: string) => files.append(forwardingPath, value, 0o644);

  async function chainDrops(): Promise<boolean> {
    if (!(await succeeds(['sh', '-c', 'command -v iptables']))) return false;
    const shown = await children.capture(['iptables', '--wait', '--list-rules', 'FORWARD']);
    return shown.stdout.includes('-P FORWARD DROP');
  }

  async function makeUplink(network: string): Promise<void> {
    const used = new Set((await allEgress(files)).map(({ index }) => index));
    const record: EgressRecord = {
      index: Array.from({ length: 256 }, (_value, at) => at).find(at => !used.has(at)) ?? 0,
      forwarding: ((await files.read(forwardingPath)) ?? '0').trim(),
      chain: (await chainDrops()) ? 'drops' : 'passes',
    };
    await files.write(recordPath(network), JSON.stringify(record), 0o600);
    const link = linkOf(record);
    await check(children, ['ip', '-batch', '-'], {
      input: [
        `link add ${link} type veth peer name uplink netns ${network}`,
        `address add 10.78.${record.index}.1/30 dev ${link}`,
        `link set ${link} up`,
        '',
      ].join('\n'),
    });
    await inside(
      network,
      ['ip', '-batch', '-'],
      [
        `address add 10.78.${record.index}.2/30 dev uplink`,
        'link set uplink up',
        `route add default via 10.78.${record.index}.1`,
        '',
      ].join('\n'),
    );
    await check(children, ['nft', '--file', '-'], { input: hostRules(record) });
    if (record.chain === 'drops')
      for (const rule of chainRules(record))
        await check(children, ['iptables', '--wait', '--insert', ...rule]);
    await setForwarding('1');
    await inside(network, ['sh', '-c', `echo 1 >${forwardingPath}`]);
    await inside(network, ['nft', '--file', '-'], networkRules);
  }

  async function removeUplink(network: string): Promise<void> {
    const record = await readEgress(files, network);
    if (!record) return;
    await children.capture(['ip', 'link', 'delete', linkOf(record)]);
    await children.capture(['nft', 'delete', 'table', 'ip', `spawnlet_lab_${record.index}`]);
    await children.capture(inNetwork(network, ['nft', 'delete', 'table', 'ip', 'lab']));
    if (record.chain === 'drops')
      for (const rule of chainRules(record))
        await children.capture(['iptables', '--wait', '--delete', ...rule]);
    // Who opened first knows what it was; who closes last puts it back.
    const others = (await allEgress(files)).filter(({ index }) => index !== record.index);
    if (others.length === 0) await setForwarding(record.forwarding);
    await files.remove(recordPath(network));
  }

  async function close(step: OpenEgress | CloseEgress): Promise<void> {
    const labs = await readRecords(files);
    const needed = labs.some(
      ({ spec }) => spec.network === step.network && spec.egress === 'nat' && spec.name !== step.lab,
    );
    if (!needed) return removeUplink(step.network);
    const element = `{ ${step.address} }`;
    await children.capture(
      inNetwork(step.network, ['nft', 'delete', 'element', 'ip', 'lab', 'egress', element]),
    );
  }

  const isOpen = (step: OpenEgress | CloseEgress) =>
    succeeds(
      inNetwork(step.network, ['nft', 'get', 'element', 'ip', 'lab', 'egress', `{ ${step.address} }`]),
    );

  return {
    'open-egress': {
      describe: step => `let ${step.address} out of network ${step.network}: a link to the host, masqueraded`,
      satisfied: isOpen,
      apply: async step => {
        if (!(await succeeds(inNetwork(step.network, ['nft', 'list', 'table', 'ip', 'lab'])))) {
          await removeUplink(step.network);
          await makeUplink(step.network);
        }
        await inside(step.network, ['nft', 'add', 'element', 'ip', 'lab', 'egress', `{ ${step.address} }`]);
      },
      undo: close,
    },
    'close-egress': {
      describe: step => `take back the way out of network ${step.network} for ${step.address}`,
      satisfied: async step => !(await isOpen(step)) && (await readEgress(files, step.network)) === undefined,
      apply: close,
    },
  };
}
