import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { persistentUnits, unitPath } from '../names.ts';
import { lockNetwork } from '../network/nat.ts';
import { type Adopted, adopt as understand } from './adopt.ts';
import type { AdoptReport, MachineChange } from './api.ts';
import { type MachineDependencies, note, type Parts, plan } from './change.ts';
import { hostFacts } from './host-facts.ts';
import { parseMachineName } from './names.ts';
import { isUp, type Made, unitState } from './observe.ts';
import { type Places, placesOf } from './places.ts';
import { planMachine } from './plan.ts';
import { desiredOf } from './prepare.ts';

/** A machine that somebody else has made, as its files say. Throws `ERR_NO_MACHINE`, `ERR_NAME_TAKEN`. */
async function foreign(
  files: Files,
  name: string,
): Promise<{ readonly adopted: Adopted; readonly made: Made; readonly byHand: readonly string[] }> {
  const places = placesOf(parseMachineName(name));
  if (await files.look(places.spec))
    throw new SpawnletError('ERR_NAME_TAKEN', `${name} is spawnlet's already`, {
      hint: `spawnlet machine status ${name}`,
    });
  const [tree, settings, enabled] = await Promise.all([
    files.look(places.tree),
    files.read(places.settings),
    files.look(places.enabled),
  ]);
  if (tree?.kind !== 'directory' && tree?.kind !== 'link')
    throw new SpawnletError('ERR_NO_MACHINE', `there is no tree ${places.tree}`, {
      hint: 'machinectl list-images shows what can be adopted',
    });
  const link = tree.kind === 'link' ? tree.target : undefined;
  const units = await unitsOf(files, name, places);
  const { gpu } = await hostFacts(files, []);
  const adopted = understand({
    name,
    ...(settings !== undefined && { nspawn: { path: places.settings, text: settings } }),
    units,
    enabled: enabled !== undefined,
    tree: link ?? places.tree,
    gpu,
  });
  const made: Made = {
    spec: adopted.spec,
    tree: link === undefined ? { kind: 'plain' } : { kind: 'link', path: link },
    enabled: enabled !== undefined,
  };
  return { adopted, made, byHand: units.map(({ path }) => path) };
}

/** A unit by hand that runs the machine, then drop-ins of the stock unit. */
async function unitsOf(files: Files, name: string, places: Places) {
  const own = await files.read(`${persistentUnits}/${name}.service`);
  const units =
    own !== undefined && own.includes('systemd-nspawn')
      ? [{ path: `${persistentUnits}/${name}.service`, text: own }]
      : [];
  // Of two of the same name the first directory's counts.
  const found = new Map<string, { path: string; text: string }>();
  for (const directory of unitPath.map(path => `${path}/${places.unit}.d`))
    for (const file of await files.list(directory)) {
      const text = file.endsWith('.conf') ? await files.read(`${directory}/${file}`) : undefined;
      if (text !== undefined && !found.has(file)) found.set(file, { path: `${directory}/${file}`, text });
    }
  const dropIns = [...found].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, file]) => file);
  return [...units, ...dropIns];
}

/** What {@link adopt} would understand. */
export async function reportOf(files: Files, name: string): Promise<AdoptReport> {
  const { spec, lines } = (await foreign(files, name)).adopted;
  return { spec, lines };
}

/** Takes over a machine that somebody else has made: from now on its files follow from its spec. */
export async function* adopt(
  deps: MachineDependencies,
  { name }: Extract<MachineChange, { do: 'adopt' }>,
  signal: AbortSignal,
): Parts {
  const { adopted, made, byHand } = await foreign(deps.host.files, name);
  const state = await unitState(await deps.systemd(), placesOf(name).unit, signal);
  const inFile = adopted.kept.filter(({ section }) => ['Exec', 'Files', 'Network'].includes(section));
  await using _network = await lockNetwork(deps.host.locks, signal);
  const desired = await desiredOf(deps.host, adopted.spec, made, inFile, signal);
  yield plan({
    ...planMachine(desired, {
      kind: 'machine',
      enabled: made.enabled,
      loaded: state !== 'idle',
      up: isUp(state),
      limits: made.spec.limits,
      mounts: made.spec.mounts,
      isMapped: adopted.spec.privateUsers?.kind !== 'no',
    }),
    title: `adopt machine ${name}`,
  });
  for (const path of byHand) yield note(`${path} stays as it is`);
}
