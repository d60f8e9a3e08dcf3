import { SpawnletError } from '../host/error.ts';
import { checkUnitName } from '../systemd/escape.ts';
import { renderUnit, unitFile } from '../systemd/unit-file.ts';
import { type Assignment, type Group, type MachineFacts, type NetworkLines, sectionOf } from './lines.ts';
import { colonWord, plainPathValue, plainValue, quotedWord } from './nspawn-words.ts';
import { unrolled } from './profiles.ts';
import type { MachineLimits, MachineSpec, Mount, PrivateUsers } from './spec.ts';

/**
 * `/etc/systemd/nspawn/NAME.nspawn`, systemd.nspawn(5): only what differs from what the stock unit says,
 * `--boot --network-veth -U --settings=override --link-journal=try-guest`.
 */

function startOf(spec: MachineSpec, facts: MachineFacts): Group {
  if (spec.start.kind === 'boot')
    return facts.ready === 'notify'
      ? {
          why: 'It is up when its own init says so, not when it was started.',
          lines: [['NotifyReady', 'yes']],
        }
      : { lines: [] };
  return {
    why: 'One command beside a stub init, instead of an OS.',
    lines: [
      ['Boot', 'no'],
      ['ProcessTwo', 'yes'],
      ['Parameters', spec.start.argv.map(word => quotedWord('an argument', word)).join(' ')],
    ],
  };
}

const environmentOf = (environment: MachineSpec['environment']): Assignment[] =>
  Object.entries(environment).map(([name, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(name))
      throw new SpawnletError('ERR_UNIT_VALUE', `${JSON.stringify(name)} is no name of a variable`, {
        hint: 'letters, digits and _',
      });
    return ['Environment', quotedWord(`the variable ${name}`, `${name}=${value}`)];
  });

function capabilitiesOf(capabilities: readonly string[]): Assignment[] {
  const wrong = capabilities.find(name => !/^(CAP_[A-Z_]+|all)$/.test(name));
  if (wrong !== undefined)
    throw new SpawnletError('ERR_CAPABILITY', `${JSON.stringify(wrong)} is no capability`, {
      hint: 'capabilities(7) lists them, such as CAP_NET_RAW',
    });
  const names = capabilities.includes('all') ? ['all'] : [...new Set(capabilities)];
  return names.length === 0 ? [] : [['Capability', names.join(' ')]];
}

const limitsOf = ({ nofile, nproc }: MachineLimits): Assignment[] => [
  ...(nofile === undefined ? [] : [['LimitNOFILE', String(nofile)] as const]),
  ...(nproc === undefined ? [] : [['LimitNPROC', String(nproc)] as const]),
];

const ranges = (users: PrivateUsers) =>
  users.kind === 'range' ? `${users.base}:${users.count}` : users.kind;

/** Ownership is mapped by the mount: `auto`, which the stock unit's -U means, may change the owner of each file. */
const usersOf = (users: PrivateUsers): Assignment[] =>
  users.kind === 'no' ? [] : [['PrivateUsersOwnership', 'map']];

/** File systems of the kernel cannot be id-mapped. */
export const isMappable = (source: string) => !/^\/(dev|proc|sys)(\/|$)/.test(source);

function mountOf(mount: Mount, users: PrivateUsers): Assignment {
  switch (mount.kind) {
    case 'bind': {
      const places = [colonWord('the source', mount.source), colonWord('the target', mount.target)];
      const mapped = users.kind !== 'no' && isMappable(mount.source);
      if (mapped) return [mount.readOnly ? 'BindReadOnly' : 'Bind', [...places, 'idmap'].join(':')];
      return [mount.readOnly ? 'BindReadOnly' : 'Bind', [...new Set(places)].join(':')];
    }
    case 'tmpfs': {
      const target = colonWord('the target', mount.target);
      const options = plainValue('the options of a tmpfs', mount.options);
      return ['TemporaryFileSystem', options === '' ? target : `${target}:${options}`];
    }
    case 'overlay': {
      if (mount.layers.length < 2)
        throw new SpawnletError('ERR_UNIT_VALUE', `the overlay on ${mount.target} has no lower directory`, {
          hint: 'an overlay takes two directories or more, the upper one last',
        });
      const places = [
        ...mount.layers.map(path => colonWord('a layer', path)),
        colonWord('the target', mount.target),
      ];
      return ['Overlay', places.join(':')];
    }
    case 'inaccessible':
      return ['Inaccessible', plainPathValue('the target', mount.target)];
  }
}

/** The machine's own settings that systemd-nspawn would write over at each start. */
function identityOf({ name, firstBoot }: MachineSpec): Group[] {
  const { hostname, timezone } = firstBoot;
  return [
    {
      lines:
        hostname === undefined || hostname === name
          ? []
          : [['Hostname', plainValue('the host name', hostname)]],
    },
    {
      why: 'It has a time zone of its own.',
      lines: timezone === undefined ? [] : [['Timezone', 'off']],
    },
  ];
}

/** The text of a machine's `.nspawn` file. Throws `ERR_UNIT_VALUE` for a value that its key cannot hold. */
export function nspawnFile(spec: MachineSpec, network: NetworkLines, facts: MachineFacts): string {
  const profiles = unrolled(spec, facts);
  const kept = (section: string): Group => ({
    why: 'Not made by spawnlet, which keeps it.',
    lines: facts.kept.filter(line => line.section === section).map(({ key, value }) => [key, value]),
  });
  const fromProfiles = profiles.lines
    .filter(line => line.place === 'Files')
    .map((line): Group => ({ why: `${line.profile}: ${line.why}`, lines: [[line.key, line.value]] }));
  return renderUnit(
    unitFile(
      `Machine ${spec.name}, made by 'spawnlet machine'. To change it: spawnlet machine set ${spec.name}\nWhat systemd.nspawn(5) cannot say: systemctl cat ${checkUnitName(`systemd-nspawn@${spec.name}.service`)}`,
      [
        ...sectionOf('Exec', [
          startOf(spec, facts),
          ...identityOf(spec),
          { lines: [['PrivateUsers', ranges(facts.users)]] },
          { lines: capabilitiesOf([...profiles.capabilities, ...spec.capabilities]) },
          {
            lines:
              profiles.systemCalls.length === 0 ? [] : [['SystemCallFilter', profiles.systemCalls.join(' ')]],
          },
          { lines: limitsOf(spec.limits) },
          { lines: environmentOf(spec.environment) },
          kept('Exec'),
        ]),
        ...sectionOf('Files', [
          {
            why: 'The mount shows other owners; no file of the tree is changed.',
            lines: usersOf(facts.users),
          },
          { lines: spec.mounts.map(mount => mountOf(mount, facts.users)) },
          {
            why: 'Device nodes; who may open them is said in the unit.',
            lines: spec.devices.map(({ path }) => ['Bind', colonWord('the device', path)]),
          },
          ...mergedGroups(fromProfiles),
          kept('Files'),
        ]),
        ...sectionOf('Network', [{ lines: network.nspawn }, kept('Network')]),
      ],
    ),
  );
}

/** Neighbours with the same reason, under one comment. */
export function mergedGroups(groups: readonly Group[]): Group[] {
  const merged: { why?: string; lines: Assignment[] }[] = [];
  for (const group of groups) {
    const last = merged.at(-1);
    if (last && last.why === group.why) last.lines.push(...group.lines);
    else merged.push({ ...group, lines: [...group.lines] });
  }
  return merged;
}
