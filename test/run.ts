/**
 * All tests, one report: units in one process, then a process for each integration file, three at a time. A file whose
 * first line is `// runs in a lab` runs inside one: behind a colon may stand suites, each of which gets a run, and
 * Debian packages with a plus: `// runs in a lab: bookworm trixie +podman`.
 *
 *   node test/run.ts [FILE…]        ROOM=image: only the tests of that room
 */
import { glob, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { spec, type TestEvent } from 'node:test/reporters';
import { ended, systemChildren } from '../src/host/child.ts';
import { failure, parseEvent } from './harness/events.ts';
import { checkout, sweepOnce, useLab } from './harness/lab.ts';

interface Job {
  readonly title: string;
  readonly files: readonly string[];
  readonly where: 'here' | { readonly suite: string; readonly packages: readonly string[] };
}

/** Settings of tests that are passed on into labs: see test/host/kill.test.ts, test/pod/churn.test.ts. */
const settings = Object.fromEntries(
  ['FAULTS', 'FAULT_SEED', 'SOAK', 'SOAK_PODS'].flatMap(name => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  }),
);

const longest = 600_000 + Number(process.env['SOAK'] ?? 0) * 60_000;
const atOnce = 3;

async function find(pattern: string): Promise<string[]> {
  const found: string[] = [];
  for await (const file of glob(pattern, { cwd: checkout })) found.push(file);
  return found.sort();
}

async function jobsFor(file: string): Promise<Job[]> {
  const [first = ''] = (await readFile(join(checkout, file), 'utf8')).split('\n', 1);
  const match = /^\/\/ runs in a lab(?:: (.*))?$/.exec(first);
  if (!match) return [{ title: file, files: [file], where: 'here' }];
  const words = (match[1] ?? '').split(' ').filter(Boolean);
  const packages = words.filter(word => word.startsWith('+')).map(word => word.slice(1));
  const suites = words.filter(word => !word.startsWith('+'));
  return (suites.length > 0 ? suites : ['bookworm']).map(suite => ({
    title: `${file} (${suite})`,
    files: [file],
    where: { suite, packages },
  }));
}

async function plan(room: string | undefined, named: readonly string[]): Promise<Job[][]> {
  const files = named.map(file => relative(checkout, file));
  const all =
    named.length > 0
      ? files
      : await find(room ? `{src,test}/${room}/**/*.test.ts` : '{src,test}/**/*.test.ts');
  const units = all.filter(file => file.startsWith('src/'));
  const rest = await Promise.all(all.filter(file => !file.startsWith('src/')).map(jobsFor));
  return [units.length > 0 ? [{ title: 'units', files: units, where: 'here' }] : [], rest.flat()];
}

const argvOf = (job: Job) => [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  '--test',
  '--test-isolation=none',
  `--test-timeout=${longest}`,
  `--test-reporter=${join(checkout, 'test/harness/events.ts')}`,
  ...job.files,
];

/** Runs a job and gives what its tests reported; a run that reported no failure and yet failed is one. */
async function run(job: Job): Promise<TestEvent[]> {
  await using lab = job.where === 'here' ? undefined : await useLab(job.where);
  const stdio = ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'];
  const child = lab
    ? await lab.spawn(['env', '-C', checkout, ...argvOf(job)], { stdio }, settings)
    : systemChildren.spawn(argvOf(job), { stdio, cwd: checkout });
  const end = ended(child);
  const events: TestEvent[] = [];
  const said: string[] = [];
  child.stderr?.on('data', chunk => said.push(String(chunk)));
  // Tests have their own time to end in; a process that goes on after them, with something open, has none.
  const lingers = setTimeout(() => {
    said.push('its tests say nothing any more, and its process goes on: something is still open\n');
    child.kill();
  }, longest + 30_000);
  for await (const line of createInterface({ input: child.stdout as Readable })) {
    const event = parseEvent(line);
    if (event) events.push(event);
    else said.push(`${line}\n`);
    lingers.refresh();
  }
  const code = await end;
  clearTimeout(lingers);
  const told = events.some(event => event.type === 'test:fail');
  if (code !== 0 && !told) events.push(...failed(job, `ended with ${code}\n${said.join('')}`));
  if (told && said.length > 0) events.push(diagnostic(`${job.title} said:\n${said.join('')}`));
  if (events.some(({ type }) => type === 'test:fail') && lab) events.push(diagnostic(await lab.lastWords()));
  return events;
}

/** Events are made by the runner alone as far as its types go. */
const event = (type: string, data: object) => ({ type, data }) as unknown as TestEvent;
const diagnostic = (message: string) => event('test:diagnostic', { nesting: 0, message, level: 'info' });
const failed = (job: Job, text: string): TestEvent[] => {
  const about = { name: job.title, nesting: 0, testNumber: 1, file: job.files[0] };
  return [
    event('test:start', about),
    event('test:fail', { ...about, details: { duration_ms: 0, error: failure(text) } }),
  ];
};

/** Leaves out the starts of tests that a dying process did not get to end: the reporter expects pairs. */
function paired(events: readonly TestEvent[]): TestEvent[] {
  const ends = new Map<string, number>();
  const key = ({ data }: TestEvent) => {
    const { nesting, name } = data as { nesting: number; name: string };
    return `${nesting} ${name}`;
  };
  return events
    .toReversed()
    .filter(each => {
      const open = ends.get(key(each)) ?? 0;
      if (each.type === 'test:pass' || each.type === 'test:fail') ends.set(key(each), open + 1);
      if (each.type !== 'test:start') return true;
      ends.set(key(each), open - 1);
      return open > 0;
    })
    .toReversed();
}

const counts = { tests: 0, suites: 0, pass: 0, fail: 0, cancelled: 0, skipped: 0, todo: 0 };

/** Adds an event to the totals; gives it back if it is not the summary of one run. */
function count(each: TestEvent): TestEvent[] {
  const { type, data } = each as unknown as { type: string; data: Record<string, unknown> };
  if (type === 'test:summary' || type === 'test:plan') return [];
  if (
    type === 'test:diagnostic' &&
    /^(?:tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/.test(String(data['message']))
  )
    return [];
  if (type === 'test:pass' || type === 'test:fail') {
    const details = data['details'] as { type?: string; error?: { failureType?: string } };
    if (details.type === 'suite') counts.suites++;
    else {
      counts.tests++;
      if (data['skip'] !== undefined) counts.skipped++;
      else if (data['todo'] !== undefined) counts.todo++;
      else if (type === 'test:pass') counts.pass++;
      else if (details.error?.failureType === 'cancelledByParent') counts.cancelled++;
      else counts.fail++;
    }
    if (type === 'test:fail' && details.type === 'suite' && details.error?.failureType === 'hookFailed')
      counts.fail++;
  }
  return [each];
}

/** One job's results under its title, as a file's are. */
function* section(job: Job, events: readonly TestEvent[]): Generator<TestEvent> {
  const about = { name: job.title, nesting: 0, testNumber: 1, file: job.files[0] };
  const inner = events.map(each => {
    const data = each.data as { nesting?: number };
    return data.nesting === undefined ? each : event(each.type, { ...data, nesting: data.nesting + 1 });
  });
  const bad = inner.some(each => each.type === 'test:fail');
  const took = inner.filter(each => each.type === 'test:pass' || each.type === 'test:fail');
  const details = {
    duration_ms: took.reduce((sum, { data }) => sum + (data.nesting === 1 ? data.details.duration_ms : 0), 0),
    type: 'suite',
    ...(bad && { error: failure(`${job.title} has failed`, 'subtestsFailed') }),
  };
  yield event('test:start', about);
  yield* inner;
  yield event(bad ? 'test:fail' : 'test:pass', { ...about, details });
}

/** The results of jobs as they end, each job's together. */
async function* work(jobs: readonly Job[]): AsyncGenerator<TestEvent> {
  const queue = [...jobs];
  const running = new Map<Job, Promise<{ job: Job; events: TestEvent[] }>>();
  while (queue.length > 0 || running.size > 0) {
    for (let job = queue.shift(); job; job = running.size < atOnce ? queue.shift() : undefined) {
      const begun = job;
      running.set(
        begun,
        run(begun)
          .catch((error: unknown) =>
            failed(begun, error instanceof Error ? (error.stack ?? '') : String(error)),
          )
          .then(events => ({ job: begun, events })),
      );
    }
    const { job, events } = await Promise.race(running.values());
    running.delete(job);
    yield* section(job, paired(events).flatMap(count));
  }
}

async function* report(stages: readonly (readonly Job[])[]): AsyncGenerator<TestEvent> {
  const begin = performance.now();
  for (const jobs of stages) yield* work(jobs);
  for (const [name, number] of Object.entries(counts)) yield diagnostic(`${name} ${number}`);
  yield diagnostic(`duration_ms ${(performance.now() - begin).toFixed(3)}`);
}

await sweepOnce();
const stages = await plan(process.env['ROOM'] || undefined, process.argv.slice(2));
if (stages.every(jobs => jobs.length === 0)) {
  process.stderr.write(`no tests for ROOM=${process.env['ROOM'] ?? ''}\n`);
  process.exit(1);
}
await pipeline(Readable.from(report(stages)), new spec(), process.stdout, { end: false });
process.exitCode = counts.fail + counts.cancelled > 0 ? 1 : 0;
