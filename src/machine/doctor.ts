import { type Diagnosis, type Finding, note, ok } from '../app/doctor/diagnosis.ts';
import { messageOf } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { MachineStatus } from './api.ts';
import { type Denial, denials, questions } from './denials.ts';
import { execCall } from './exec.ts';
import { hostFacts } from './host-facts.ts';
import type { HostFacts } from './lines.ts';
import { type ProfileLine, profile } from './profiles.ts';
import { type ProfileName, profileNames } from './spec.ts';

/** What a machine said to a question. */
export type Answer =
  | { readonly kind: 'allowed' }
  | { readonly kind: 'denied'; readonly why: string }
  /** It could not be asked. */
  | { readonly kind: 'unknown'; readonly why: string };

/** The lines that {@link questions} wrote; a machine may write anything. */
export function parseAnswers(text: string): Answer[] {
  const lines = text.split('\n');
  return denials.map((_denial, index): Answer => {
    const [, code, said = ''] = /^(\d{1,3}) (.{0,200})$/.exec(lines[index] ?? '') ?? [];
    if (code === '0') return { kind: 'allowed' };
    // A shell has its own name and the number of a line in front.
    const why = said.replace(/^.*\bsh: (line )?\d+: (eval: )?/, '').replace(/^cannot open /, '');
    if (code === '2' && /neither perl/.test(said)) return { kind: 'unknown', why };
    return code === undefined ? { kind: 'unknown', why: 'it gave no answer' } : { kind: 'denied', why };
  });
}

/** A machine that does not answer is not waited for. */
const patience = 20_000;
/** More than the answers take. */
const longest = 16_384;

/** Asks in a machine that runs; its own systemd starts the shell, which is confined as all that runs there. */
async function ask(host: Host, status: MachineStatus, signal: AbortSignal): Promise<Answer[]> {
  const unknown = (why: string) => denials.map((): Answer => ({ kind: 'unknown', why }));
  const { name, leader, spec } = status;
  if (leader === undefined) return unknown('it does not run');
  if (spec.start.kind === 'command') return unknown('it runs one command, and nobody who could be asked');
  const own = /^CapBnd:\s*(\w+)$/m.exec((await host.files.read('/proc/1/status')) ?? '')?.[1] ?? '';
  const argv = ['/bin/sh', '-c', questions, 'sh', own, ...denials.map(({ script }) => script)];
  try {
    const call = await execCall(host, { name, leader, start: 'boot' }, argv, { env: [], terminal: false });
    const few = ['/bin/sh', '-c', `"$@" 2>/dev/null | head -c ${longest}`, 'sh', ...call.argv];
    const { stdout } = await host.children.capture(few, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(patience)]),
    });
    return parseAnswers(stdout.toString());
  } catch (error) {
    signal.throwIfAborted();
    return unknown(messageOf(error));
  }
}

/** `nested: [Exec] SystemCallFilter=@keyring bpf`. */
const told = (name: ProfileName, lines: readonly ProfileLine[]) =>
  `profile ${name}: ${lines.map(({ place, key, value }) => `[${place}] ${key}=${value}`).join(', ')}`;

/** What a machine is asked about, and what is to be said of the answer. */
export function findingOf(
  denial: Denial,
  answer: Answer,
  { spec: { name, profiles }, tree, users, pending }: MachineStatus,
  host: HostFacts,
): Finding {
  const about = { name, host, overlay: tree.kind === 'overlay' };
  const ways = denial.profiles.map(of => [of, profile(of, about).filter(denial.takes)] as const);
  const takes = ways.flatMap(([of, lines]) => (lines.length > 0 ? [told(of, lines)] : []));
  const given = denial.profiles.find(of => profiles.includes(of));
  const isThere = denial.name !== 'kvm' || host.devices.includes('/dev/kvm');
  if (answer.kind === 'allowed') return ok('allowed: tried in the machine');
  if (answer.kind === 'unknown')
    return given === undefined && takes.length > 0
      ? note(`its profiles do not allow it (not tried: ${answer.why})`, takes.join('; or '))
      : ok(`its profiles allow it (not tried: ${answer.why})`);
  const denied = `denied: ${answer.why}`;
  if (takes.length === 0 || !isThere) return note(`${denied}; this host has none to give`);
  if (given === undefined) return note(denied, takes.join('; or '));
  if (pending.length > 0)
    return note(`${denied}; ${given} is to change that`, `spawnlet machine restart ${name}`);
  return users.range === 'no'
    ? note(`${denied}, although it has ${takes.join('; or ')}`)
    : note(`${denied}: its user namespace may not, with ${given} or without`, 'private users: no');
}

/** A row for each thing that the profiles are about. */
export async function diagnoseMachine(
  host: Host,
  status: MachineStatus,
  signal: AbortSignal,
): Promise<Diagnosis[]> {
  const [answers, facts] = await Promise.all([
    ask(host, status, signal),
    hostFacts(host.files, profileNames),
  ]);
  return denials.map((denial, index) => ({
    name: denial.name,
    purpose: denial.purpose,
    ...findingOf(denial, answers[index] ?? { kind: 'unknown', why: 'it gave no answer' }, status, facts),
  }));
}
