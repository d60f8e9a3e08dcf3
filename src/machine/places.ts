/** Where the files of a machine lie. */

import { machineStateDirectory, machinesDirectory, nspawnSettings, persistentUnits } from '../names.ts';
import { machineUnit } from './drop-in.ts';
import { mountUnitName } from './mount-unit.ts';

/** What the stock unit is linked into by `systemctl enable`. */
const wants = `${persistentUnits}/machines.target.wants`;

export function placesOf(name: string) {
  const state = `${machineStateDirectory}/${name}`;
  const dropIns = `${persistentUnits}/${machineUnit(name)}.d`;
  return {
    unit: machineUnit(name),
    /** The tree, where machinectl and the stock unit look for it. */
    tree: `${machinesDirectory}/${name}`,
    state,
    spec: `${state}/machine.yaml`,
    /** What a clone has changed since its base. */
    upper: `${state}/upper`,
    work: `${state}/work`,
    snapshots: `${state}/snapshots`,
    settings: `${nspawnSettings}/${name}.nspawn`,
    dropIns,
    dropIn: `${dropIns}/50-spawnlet.conf`,
    mountUnit: mountUnitName(name),
    mountFile: `${persistentUnits}/${mountUnitName(name)}`,
    /** There if the machine starts at boot. */
    enabled: `${wants}/${machineUnit(name)}`,
    /** What systemd-nspawn leaves where it was killed. */
    leftByNspawn: {
      lock: hidden(`${machinesDirectory}/${name}`, 'lck'),
      directories: ['propagate', 'unix-export'].map(what => `/run/systemd/nspawn/${what}/${name}`),
    },
  };
}

export type Places = ReturnType<typeof placesOf>;

/** Who holds it changes the machine. */
export const lockOf = (name: string): string => `machine-${name}`;

/** A name beside a path that neither machinectl nor a person takes for a machine. */
export function hidden(path: string, what: string): string {
  const slash = path.lastIndexOf('/');
  return `${path.slice(0, slash)}/.#${path.slice(slash + 1)}.${what}`;
}
