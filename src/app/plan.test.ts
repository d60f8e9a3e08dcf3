import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runPlan } from '../../test/harness/run-plan.ts';
import { makeApplier } from '../host/apply.ts';
import { FakeFiles } from '../host/files.ts';
import { FakeLocks } from '../host/lock.ts';
import { type Executors, hostExecutors } from '../host/step.ts';
import { appsDirectory, journalDirectory, runtimeDirectory } from '../names.ts';
import type { LeaveBridge } from '../network/leave.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import { type AppStep, planRemove, planRun, type RunPlan } from './plan.ts';
import type { RunRequest } from './request.ts';
import { toBeRead } from './shown.ts';

const signal = new AbortController().signal;
/** A run with a secret, of an image with a volume. */
const planOf = (change: Partial<RunRequest> = {}, enable = false): RunPlan =>
  runPlan(
    { env: ['PASSWORD=hunter2 "quoted"'], network: 'none', ...change },
    { cmd: ['serve'], volumes: ['/data'] },
    { gate: true, attached: true, enable },
  );

/** Files and units in memory. */
class FakeHost {
  readonly files = new FakeFiles();
  readonly up = new Set<string>();
  readonly enabled = new Set<string>();
  /** A unit whose start fails. */
  broken = '';

  #systemd(): Executors<SystemdStep | LeaveBridge> {
    const down = async ({ name }: { readonly name: string }) => {
      this.up.delete(name);
      // As systemd does with RuntimeDirectory=.
      await this.files.remove(`${runtimeDirectory}/app/${name.replace('.service', '')}`);
    };
    const { up, enabled } = this;
    return {
      'start-unit': {
        describe: step => `start ${step.name}`,
        satisfied: async step => up.has(step.name),
        apply: async step => {
          if (step.name === this.broken) throw new Error('does not start');
          up.add(step.name);
        },
        undo: down,
      },
      'stop-unit': { describe: () => 'stop', satisfied: async step => !up.has(step.name), apply: down },
      'kill-unit': { describe: () => 'kill', satisfied: async step => !up.has(step.name), apply: down },
      'enable-unit': {
        describe: step => `enable ${step.name}`,
        satisfied: async step => enabled.has(step.name),
        apply: async step => void enabled.add(step.name),
        undo: async step => void enabled.delete(step.name),
      },
      'disable-unit': {
        describe: () => 'disable',
        satisfied: async step => !enabled.has(step.name),
        apply: async step => void enabled.delete(step.name),
      },
      'leave-bridge': {
        describe: () => 'leave',
        satisfied: async () => true,
        apply: async () => undefined,
      },
      'reset-failed-unit': {
        describe: () => 'reset',
        satisfied: async () => true,
        apply: async () => undefined,
      },
      'reload-manager': {
        describe: () => 'reload',
        satisfied: async () => true,
        apply: async () => undefined,
      },
    };
  }

  readonly applier = makeApplier<AppStep>(
    { ...hostExecutors(this.files), ...this.#systemd() },
    this.files,
    new FakeLocks(),
    journalDirectory,
  );

  state() {
    return { files: this.files.tree(), up: [...this.up], enabled: [...this.enabled] };
  }

  static async used(): Promise<FakeHost> {
    const host = new FakeHost();
    for (const path of ['/etc/systemd/system', '/run/systemd/system'])
      await host.files.makeDirectory(path, 0o755);
    await host.applier.apply(planRun(planOf({ name: 'other' })), signal);
    return host;
  }
}

describe('the plan of a run', () => {
  for (const [what, plan] of [
    ['a container that stays', planOf({}, true)],
    ['one that goes when it has ended', planOf({ removeAfterwards: true })],
    ['one that is asked whether it is well', planOf({ health: { test: ['CMD', 'true'] } })],
    ['one of the engine nspawn', planOf({ engine: 'nspawn' })],
  ] as const) {
    test(`of ${what}: a second apply is empty, and the plan of rm gives back what was before`, async () => {
      const host = await FakeHost.used();
      const before = host.state();
      await host.applier.apply(planRun(plan), signal);
      assert.ok(host.up.has('web.service'));
      assert.deepEqual(await host.applier.pending(planRun(plan)), []);
      assert.equal(await host.applier.dryRun(planRun(plan)), 'nothing to do\n');
      const { removeAfterwards } = plan.request;
      await host.applier.apply(
        planRemove({
          name: 'web',
          removeAfterwards: removeAfterwards,
          enabled: plan.enable,
          timed: plan.health !== undefined,
          network: 'other',
        }),
        signal,
      );
      assert.deepEqual(host.state(), before);
      assert.deepEqual(
        await host.applier.pending(
          planRemove({
            name: 'web',
            removeAfterwards: removeAfterwards,
            enabled: plan.enable,
            timed: plan.health !== undefined,
            network: 'other',
          }),
        ),
        [],
      );
    });
  }

  test('is taken back when its unit does not start, and leaves other containers alone', async () => {
    const host = await FakeHost.used();
    const before = host.state();
    host.broken = 'web.service';
    await assert.rejects(host.applier.apply(planRun(planOf({}, true)), signal), {
      message: 'does not start',
    });
    assert.deepEqual(host.state(), before);
  });

  test('on a host that has never had a container takes back its directories too', async () => {
    const host = new FakeHost();
    for (const path of ['/etc/systemd/system', '/run/systemd/system'])
      await host.files.makeDirectory(path, 0o755);
    host.broken = 'web.service';
    await assert.rejects(host.applier.apply(planRun(planOf()), signal), { message: 'does not start' });
    assert.deepEqual(host.files.tree(), {
      '/etc/': '',
      '/etc/systemd/': '',
      '/etc/systemd/system/': '',
      '/run/': '',
      '/run/spawnlet/': '',
      '/run/spawnlet/app/': '',
      '/run/systemd/': '',
      '/run/systemd/system/': '',
      '/var/': '',
      '/var/lib/': '',
      '/var/lib/spawnlet/': '',
      '/var/lib/spawnlet/journal/': '',
    });
  });

  test('shows every file and no value of the environment', async () => {
    const host = await FakeHost.used();
    const plan = planOf();
    const text = await host.applier.dryRun(toBeRead(planRun(plan), plan.request));
    assert.match(text, /^write \/etc\/systemd/);
    for (const name of ['config.json', 'start', 'stopped', 'hosts'])
      assert.match(text, new RegExp(`^write ${appsDirectory}/web/${name} \\(0`, 'm'));
    assert.match(text, /^write \/etc\/systemd\/system\/web\.service \(0644\)$/m);
    assert.match(text, /^start web\.service$/m);
    assert.match(text, /"PASSWORD=…"/);
    assert.doesNotMatch(text, /hunter2|quoted/);
  });
});
