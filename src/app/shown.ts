import { filterAnnotation } from '../engine/filter-cache.ts';
import { profilePath, type Seccomp } from '../engine/seccomp.ts';
import type { Plan } from '../host/apply.ts';
import { type AppStep, annotation } from './plan.ts';
import type { RunRequest } from './request.ts';

/** What `run --dry-run` prints, to be read and pasted: no secret, and no long list that is the same for every container. */

const width = 120;

/** JSON in as few lines as fit: what is short stands in one line, and plain values fill theirs. */
export function compactJson(value: unknown, indent = ''): string {
  const line = JSON.stringify(value);
  if (typeof value !== 'object' || value === null || line.length + indent.length <= width) return line;
  const inner = `${indent} `;
  if (!Array.isArray(value)) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    const lines = fields.map(
      ([key, field]) => `${inner}${JSON.stringify(key)}: ${compactJson(field, inner)}`,
    );
    return `{\n${lines.join(',\n')}\n${indent}}`;
  }
  const items = value.map(item => compactJson(item, inner));
  const plain = value.every(item => typeof item !== 'object' || item === null);
  return `[\n${(plain ? filled(items, inner) : items.map(item => inner + item)).join(',\n')}\n${indent}]`;
}

/** Items side by side, as many as a line takes. */
function filled(items: readonly string[], indent: string): string[] {
  const lines: string[] = [];
  for (const item of items) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + item.length + 2 <= width)
      lines[lines.length - 1] = `${last}, ${item}`;
    else lines.push(indent + item);
  }
  return lines;
}

/** `/usr/share/containers/seccomp.json as Docker has it: 34 rules, else SCMP_ACT_ERRNO`. */
function seccompLine({ syscalls, defaultAction }: Seccomp, file: string | undefined): string {
  const profile = file ?? `Docker's default, from ${profilePath}`;
  return `${profile}: ${syscalls.length} rules, else ${defaultAction}`;
}

interface Shown {
  readonly process: { readonly env: readonly string[] };
  readonly linux: { readonly seccomp?: Seccomp };
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * A bundle's text with the names of its environment alone, its seccomp profile as one line, and neither the request, which
 * has the environment too, nor a compiled filter.
 */
function shownBundle(text: string, request: Pick<RunRequest, 'seccomp'>): string {
  const bundle = JSON.parse(text) as Shown;
  const { seccomp } = bundle.linux;
  const hidden: readonly string[] = [annotation.request, filterAnnotation];
  return `${compactJson({
    ...bundle,
    process: { ...bundle.process, env: bundle.process.env.map(entry => entry.replace(/=.*$/s, '=…')) },
    linux: { ...bundle.linux, ...(seccomp && { seccomp: seccompLine(seccomp, request.seccomp) }) },
    annotations: Object.fromEntries(
      Object.entries(bundle.annotations).map(([key, value]) => [key, hidden.includes(key) ? '…' : value]),
    ),
  })}\n`;
}

/** The plan of a run as it is read: the unit, then the bundle, then what they need. It is not for the executor. */
export function toBeRead(plan: Plan<AppStep>, request: Pick<RunRequest, 'seccomp'>): Plan<AppStep> {
  const unit: AppStep[] = [];
  const bundle: AppStep[] = [];
  const rest: AppStep[] = [];
  for (const step of plan.steps) {
    if (step.do !== 'write-file') rest.push(step);
    else if (step.path.endsWith('.service')) unit.push(step);
    else if (step.path.endsWith('/config.json'))
      bundle.push({ ...step, shown: shownBundle(step.content, request) });
    else rest.push(step);
  }
  return { ...plan, steps: [...unit, ...bundle, ...rest] };
}
