import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { FakeClock } from '../../host/clock.ts';
import type { Probe } from '../api/kubernetes.ts';
import { container, noon, seconds } from '../status/fake-pod.ts';
import type { Verdicts } from '../status/observed.ts';
import type { ExecInContainer } from './exec.ts';
import { type ProbedRun, type ProbeNews, type Probes, probeRun, probesOf } from './run.ts';

/** A probe whose command is its own name, so that a test sees who was asked. */
const probe = (name: string, rest: Partial<Probe> = {}): Probe => ({
  exec: { command: [name] },
  periodSeconds: 10,
  ...rest,
});

/** A world in which commands are answered by a table, and time goes as the test says. */
class Bench implements AsyncDisposable {
  readonly clock = new FakeClock(noon);
  /** `seconds: name` of each question. */
  readonly asked: string[] = [];
  readonly news: string[] = [];
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(
    probes: Probes,
    exitCode: (name: string, at: number) => number = () => 0,
    rest: Partial<ProbedRun> = {},
    exec?: ExecInContainer,
  ) {
    const answer: ExecInContainer = async ([name = '']) => {
      const at = (this.clock.now() - noon) / 1000;
      this.asked.push(`${at}: ${name}`);
      return { exitCode: exitCode(name, at), output: Buffer.from('said') };
    };
    const run = { probes, podIP: '127.0.0.1', startedAt: noon, verdicts: {}, spread: 0, ...rest };
    const tell = (news: ProbeNews) =>
      this.news.push(
        news.kind === 'verdict' ? `${news.probe} ${news.verdict}` : `${news.reason}: ${news.message}`,
      );
    this.#done = probeRun(run, { clock: this.clock, exec: exec ?? answer }, tell, this.#abort.signal);
  }

  /** Lets the time pass, second by second, and everybody act who waits. */
  async pass(count: number): Promise<void> {
    await settled();
    for (let second = 0; second < count; second++) {
      this.clock.advance(seconds(1));
      await settled();
    }
  }

  /** True once nothing is left to ask. */
  async isOver(): Promise<boolean> {
    return Promise.race([this.#done.then(() => true), turn(false)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }
}

/** Promises that only wait for one another come to rest within a few turns of the event loop. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 4; turns++) await turn();
}

test('a container without probes has none to run', async () => {
  assert.deepEqual(probesOf(container('main')), {});
  await using bench = new Bench({});
  assert.equal(await bench.isOver(), true);
  const spec = { livenessProbe: probe('l'), readinessProbe: probe('r') };
  assert.deepEqual(Object.keys(probesOf(container('main', spec))), ['liveness', 'readiness']);
});

test('a probe is asked after its delay, then every period', async () => {
  await using bench = new Bench({ readiness: probe('r', { initialDelaySeconds: 5, periodSeconds: 3 }) });
  await bench.pass(12);
  assert.deepEqual(bench.asked, ['5: r', '8: r', '11: r']);
  assert.deepEqual(bench.news, ['readiness success']);
});

test('the delay counts from the start of the run, not from that of the agent', async () => {
  await using bench = new Bench({ readiness: probe('r', { initialDelaySeconds: 5 }) }, () => 0, {
    startedAt: noon - seconds(3),
  });
  await bench.pass(3);
  assert.deepEqual(bench.asked, ['2: r']);
});

test('the startup probe comes first, the others at once after it, and it is asked no more', async () => {
  const startup = probe('s', { periodSeconds: 2, failureThreshold: 30 });
  const probes = { startup, liveness: probe('l'), readiness: probe('r', { initialDelaySeconds: 7 }) };
  await using bench = new Bench(probes, (name, at) => (name === 's' && at < 4 ? 1 : 0));
  await bench.pass(9);
  assert.deepEqual(bench.asked, ['0: s', '2: s', '4: s', '4: l', '7: r']);
  const failed = 'Unhealthy: Startup probe failed: said';
  assert.deepEqual(bench.news, [failed, failed, 'startup success', 'liveness success', 'readiness success']);
});

test('a startup probe that fails is the end of all questions', async () => {
  const startup = probe('s', { periodSeconds: 1, failureThreshold: 2 });
  await using bench = new Bench({ startup, liveness: probe('l') }, () => 1);
  await bench.pass(30);
  assert.deepEqual(bench.asked, ['0: s', '1: s']);
  assert.equal(bench.news.at(-1), 'startup failure');
  assert.equal(await bench.isOver(), true);
});

test('a liveness probe that fails is not asked again of this run; readiness goes on and may come back', async () => {
  const often = { periodSeconds: 1, failureThreshold: 2 };
  await using bench = new Bench({ liveness: probe('l', often), readiness: probe('r', often) }, (name, at) =>
    name === 'l' || (at > 0 && at < 4) ? 1 : 0,
  );
  await bench.pass(4);
  assert.deepEqual(
    bench.asked.filter(each => each.endsWith('l')),
    ['0: l', '1: l'],
  );
  assert.deepEqual(
    bench.news.filter(each => !each.startsWith('Unhealthy')),
    ['readiness success', 'liveness failure', 'readiness failure', 'readiness success'],
  );
});

test('verdicts of an earlier process hold for the same run', async () => {
  const often = { periodSeconds: 1, failureThreshold: 2 };
  const probes = { startup: probe('s'), liveness: probe('l', often), readiness: probe('r', often) };
  const bench = (verdicts: Verdicts) => new Bench(probes, name => (name === 'r' ? 1 : 0), { verdicts });
  await using taken = bench({ startup: 'success', readiness: 'success' });
  await taken.pass(0);
  // It has started, and one failure is not yet a verdict.
  assert.deepEqual(taken.asked, ['0: l', '0: r']);
  assert.deepEqual(taken.news, ['liveness success', 'Unhealthy: Readiness probe failed: said']);
  await taken.pass(1);
  assert.equal(taken.news.at(-1), 'readiness failure');
  await using dying = bench({ startup: 'success', liveness: 'failure' });
  await dying.pass(0);
  assert.deepEqual(dying.asked, ['0: r']);
  await using unstarted = bench({ startup: 'failure' });
  await unstarted.pass(0);
  assert.deepEqual(unstarted.asked, []);
});

test('runs that are taken over are asked at different times', async () => {
  const at = async (spread: number) => {
    await using bench = new Bench({ readiness: probe('r') }, () => 0, { spread });
    await bench.pass(10);
    return bench.asked[0];
  };
  assert.deepEqual([await at(0), await at(0.3), await at(0.9)], ['0: r', '3: r', '9: r']);
});

test('an answer that takes longer than the period delays the next question, and nothing piles up', async () => {
  const asked: number[] = [];
  const { promise: first, resolve } = Promise.withResolvers<void>();
  await using bench: Bench = new Bench(
    { readiness: probe('r', { periodSeconds: 2, timeoutSeconds: 60 }) },
    undefined,
    {},
    async () => {
      asked.push((bench.clock.now() - noon) / 1000);
      if (asked.length === 1) await first;
      return { exitCode: 0, output: Buffer.alloc(0) };
    },
  );
  await bench.pass(5);
  resolve();
  await bench.pass(4);
  assert.deepEqual(asked, [0, 6, 8]);
});

test('a question that nobody could ask is told and says nothing', async () => {
  await using bench = new Bench({ readiness: probe('r') }, undefined, {}, () =>
    Promise.reject(new Error('no crun')),
  );
  await bench.pass(0);
  assert.deepEqual(bench.news, ['Unhealthy: Readiness probe errored and resulted in unknown state: no crun']);
});

test('a port that the container does not name is told', async () => {
  await using bench = new Bench({ readiness: { httpGet: { port: 'web' } } });
  await bench.pass(0);
  assert.match(bench.news[0] ?? '', /resulted in unknown state: port web not found/);
});

test('a clock that is put back does not silence a probe', async () => {
  let count = 0;
  await using bench: Bench = new Bench(
    { readiness: probe('r', { periodSeconds: 3 }) },
    undefined,
    {},
    async () => {
      count++;
      if (count === 1) bench.clock.advance(-seconds(3600));
      return { exitCode: 0, output: Buffer.alloc(0) };
    },
  );
  await bench.pass(6);
  assert.equal(count, 3);
});
