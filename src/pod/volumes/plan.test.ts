import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { factsWith, plainFacts, podOf, uid } from '../../../test/harness/pod-volumes.ts';
import type { Volume } from '../api/kubernetes.ts';
import { filesOf, mountUnitsOf, planVolumes } from './plan.ts';
import type { VolumeStep } from './step.ts';

const pod = `/var/lib/spawnlet/pods/${uid}`;
const escaped = uid.replaceAll('-', '\\x2d');
const unitOf = (name: string) => `var-lib-spawnlet-pods-${escaped}-volumes-${name}.mount`;

/** A step in a line. */
function lineOf(step: VolumeStep): string {
  const path = 'path' in step ? step.path.replace(pod, 'POD') : step.name;
  const mode = 'mode' in step ? ` ${step.mode.toString(8)}` : '';
  return `${step.do} ${path}${mode}`;
}

const linesOf = (volumes: readonly Volume[], facts = plainFacts, spec = {}) =>
  planVolumes(podOf(volumes, spec), facts).map(lineOf);

/** The options of the one unit that a plan writes. */
function optionsOf(volume: Volume, facts = plainFacts, spec = {}): string | undefined {
  const units = planVolumes(podOf([volume], spec), facts).flatMap(step =>
    step.do === 'write-file' ? step.content : [],
  );
  return /^Options=(.*)$/m.exec(units.join())?.[1];
}

const own = [
  'make-directory /var/lib/spawnlet 700',
  'make-directory /var/lib/spawnlet/pods 700',
  'make-directory POD 700',
  'make-directory POD/volumes 700',
];

describe('the plan of a volume', () => {
  test('that is an emptyDir is a directory, open to all', () => {
    const [...lines] = linesOf([{ name: 'tmp', emptyDir: {} }]);
    assert.deepEqual(lines, [...own, 'make-directory POD/volumes/empty-dir/tmp 777']);
  });

  test('in memory is a sized tmpfs, a unit that belongs to the pod’s target', () => {
    const volume = { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '64Mi' } };
    assert.deepEqual(linesOf([volume]), [
      ...own,
      'make-directory POD/volumes/memory/shm 755',
      `write-file /run/systemd/system/${unitOf('memory-shm')} 644`,
      'mount-volume POD/volumes/memory/shm',
    ]);
    const [unit] = planVolumes(podOf([volume]), plainFacts).flatMap(step =>
      step.do === 'write-file' ? step.content : [],
    );
    assert.match(unit ?? '', /^PartOf=web\.target$/m);
    assert.match(unit ?? '', new RegExp(`^Where=${pod}/volumes/memory/shm$`, 'm'));
    assert.equal(optionsOf(volume), `size=${64 * 1024 ** 2},mode=0777,nosuid,nodev`);
    assert.match(optionsOf(volume, factsWith({ noswap: true })) ?? '', /,noswap$/);
  });

  test('in memory has no more than the pod may use, and without a limit as much as that', () => {
    const limits = { limits: { memory: '100Mi' } };
    const spec = {
      containers: [
        { name: 'main', image: 'i', resources: limits, volumeMounts: [{ name: 'm', mountPath: '/m' }] },
      ],
    };
    const sizes = [
      [undefined, {}, 1024],
      ['2Gi', {}, 1024],
      ['0', {}, 1024],
      [undefined, spec, 100],
      ['200Mi', spec, 100],
      ['50Mi', spec, 50],
    ] as const;
    for (const [sizeLimit, pod, mebibytes] of sizes) {
      const emptyDir = { medium: 'Memory', ...(sizeLimit !== undefined && { sizeLimit }) };
      assert.match(
        optionsOf({ name: 'm', emptyDir }, plainFacts, pod) ?? '',
        new RegExp(`^size=${mebibytes * 1024 ** 2},`),
      );
    }
  });

  test('of huge pages has those that are named, or that the containers ask for', () => {
    const named = { name: 'm', emptyDir: { medium: 'HugePages-2Mi', sizeLimit: '4Mi' } };
    assert.match(optionsOf(named) ?? '', /^pagesize=2097152,size=4194304,/);
    const any = { name: 'm', emptyDir: { medium: 'HugePages' } };
    assert.throws(() => optionsOf(any), { code: 'ERR_VOLUME_PAGES' });
    const resources = { limits: { 'hugepages-1Gi': '2Gi' } };
    const containers = [{ name: 'c', image: 'i', resources, volumeMounts: [{ name: 'm', mountPath: '/m' }] }];
    assert.match(optionsOf(any, plainFacts, { containers }) ?? '', /^pagesize=1073741824,/);
  });

  test('of a configMap alone needs no mount', () => {
    const lines = linesOf([
      { name: 'conf', configMap: { name: 'app' } },
      { name: 'all', projected: { sources: [{ configMap: { name: 'app' } }] } },
    ]);
    assert.deepEqual(lines, [
      ...own,
      'write-volume POD/volumes/config/conf',
      'write-volume POD/volumes/config/all',
    ]);
  });

  test('with something secret shares one tmpfs with the others of its pod', () => {
    const volumes = [
      { name: 'key', secret: { secretName: 'key' } },
      { name: 'told', downwardAPI: { items: [{ path: 'n', fieldRef: { fieldPath: 'metadata.name' } }] } },
      { name: 'all', projected: { sources: [{ configMap: { name: 'a' } }, { secret: { name: 'b' } }] } },
    ];
    assert.deepEqual(linesOf(volumes), [
      ...own,
      'make-directory POD/volumes/secret 755',
      `write-file /run/systemd/system/${unitOf('secret')} 644`,
      'mount-volume POD/volumes/secret',
      'write-volume POD/volumes/secret/key',
      'write-volume POD/volumes/secret/told',
      'write-volume POD/volumes/secret/all',
    ]);
    assert.deepEqual(mountUnitsOf(podOf(volumes), plainFacts), [unitOf('secret')]);
    assert.ok(filesOf(podOf(volumes), plainFacts).every(({ secret }) => secret));
  });

  test('of a claim is its directory, which stays, or a mount', () => {
    const volume = { name: 'data', persistentVolumeClaim: { claimName: 'pg', readOnly: true } };
    const directory = factsWith({ claims: new Map([['pg', { kind: 'directory' }]]) });
    assert.deepEqual(planVolumes(podOf([volume]), directory).at(-1), {
      do: 'make-directory',
      path: '/var/lib/spawnlet/volumes/shop/pg',
      mode: 0o777,
    });
    const claim = { kind: 'nfs', server: 'fd00::1', path: '/ex%port', readOnly: false } as const;
    const remote = factsWith({ claims: new Map([['pg', claim]]) });
    const [unit] = planVolumes(podOf([volume]), remote).flatMap(step =>
      step.do === 'write-file' ? step.content : [],
    );
    assert.match(unit ?? '', /^What=\[fd00::1\]:\/ex%%port$/m);
    assert.match(unit ?? '', /^Options=ro$/m);
    assert.equal(linesOf([volume], remote).at(-1), `start-unit ${unitOf('nfs-data')}`);
    assert.throws(() => planVolumes(podOf([volume]), plainFacts), {
      code: 'ERR_VOLUME_CLAIM',
      message: 'persistentvolumeclaim "pg" not found',
    });
  });

  test('of a claim that the pod brings along is a directory of the pod, or what the claim stands for', () => {
    const volume = { name: 'scratch', ephemeral: {} };
    assert.equal(linesOf([volume]).at(-1), 'make-directory POD/volumes/ephemeral/scratch 777');
    const claims = factsWith({ claims: new Map([['web-scratch', { kind: 'directory' }]]) });
    assert.equal(
      linesOf([volume], claims).at(-1),
      'make-directory /var/lib/spawnlet/volumes/shop/web-scratch 777',
    );
  });

  test('of an image is its layers upon each other, read-only', () => {
    const volume = { name: 'model', image: { reference: 'localhost/model:1' } };
    const facts = (...layers: string[]) => factsWith({ images: new Map([['model', layers]]) });
    const l = '/var/lib/spawnlet/l';
    assert.equal(optionsOf(volume, facts('aa', 'bb')), `ro,nosuid,nodev,lowerdir=${l}/bb:${l}/aa`);
    assert.equal(
      optionsOf(volume, facts('aa')),
      `ro,nosuid,nodev,lowerdir=${l}/aa:${pod}/volumes/image/.empty`,
    );
    assert.equal(linesOf([volume], facts()).at(-1), 'make-directory POD/volumes/image/model 755');
    const many = Array.from({ length: 130 }, (_each, index) => String(index).padStart(12, '0'));
    assert.throws(() => optionsOf(volume, facts(...many)), { code: 'ERR_VOLUME_LAYERS' });
  });

  test('of a path of the host makes nothing of the pod’s', () => {
    assert.deepEqual(linesOf([{ name: 'h', hostPath: { path: '/srv', type: 'Directory' } }]), [
      'check-host-path /srv',
    ]);
  });

  test('that no container mounts is not there', () => {
    const volumes = [{ name: 'tmp', emptyDir: {} }];
    assert.deepEqual(linesOf(volumes, plainFacts, { containers: [{ name: 'c', image: 'i' }] }), []);
  });

  test('with a token needs an API server', () => {
    const sources = [{ serviceAccountToken: { path: 'token', audience: 'vault' } }];
    const volume = { name: 'sa', projected: { sources } };
    assert.throws(() => planVolumes(podOf([volume]), plainFacts), { code: 'ERR_VOLUME_TOKEN' });
    const [token] = filesOf(podOf([volume]), factsWith({ issuesTokens: true })).flatMap(
      ({ sources }) => sources,
    );
    assert.deepEqual(token, {
      kind: 'token',
      path: 'token',
      mode: 0o644,
      uid: 0,
      audience: 'vault',
      seconds: 3600,
    });
  });

  test('with a token gives it to the user that all containers run as', () => {
    const volume = { name: 'sa', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } };
    const facts = factsWith({ issuesTokens: true });
    const tokenOf = (...users: (number | undefined)[]) => {
      const containers = users.map((runAsUser, index) => ({
        name: `c${index}`,
        image: 'i',
        volumeMounts: [{ name: 'sa', mountPath: '/sa' }],
        ...(runAsUser !== undefined && { securityContext: { runAsUser } }),
      }));
      const [source] = filesOf(podOf([volume], { containers }), facts).flatMap(({ sources }) => sources);
      return source?.kind === 'token' ? `${source.uid} ${source.mode.toString(8)}` : undefined;
    };
    assert.equal(tokenOf(7, 7), '7 600');
    assert.equal(tokenOf(7, 8), '0 644');
    assert.equal(tokenOf(7, undefined), '0 644');
  });
});

describe('fsGroup', () => {
  const claims = factsWith({ claims: new Map([['pg', { kind: 'directory' }]]), issuesTokens: true });
  const grouped = (volume: Volume, more = {}) =>
    planVolumes(podOf([volume], { securityContext: { fsGroup: 2000, ...more } }), claims).flatMap(step => {
      if (step.do === 'own-volume') return `${step.group} ${step.when}`;
      return step.do === 'write-volume' ? `${step.group} in files` : [];
    });

  test('is given what Kubernetes gives it, and paths of the host are not', () => {
    const claim = { name: 'v', persistentVolumeClaim: { claimName: 'pg' } };
    assert.deepEqual(grouped({ name: 'v', emptyDir: {} }), ['2000 on-mismatch']);
    assert.deepEqual(grouped({ name: 'v', emptyDir: { medium: 'Memory' } }), ['2000 on-mismatch']);
    assert.deepEqual(grouped({ name: 'v', configMap: { name: 'a' } }), ['2000 in files']);
    assert.deepEqual(grouped({ name: 'v', secret: { secretName: 'a' } }), ['2000 in files']);
    assert.deepEqual(grouped(claim), ['2000 always']);
    assert.deepEqual(grouped(claim, { fsGroupChangePolicy: 'OnRootMismatch' }), ['2000 on-mismatch']);
    assert.deepEqual(grouped({ name: 'v', persistentVolumeClaim: { claimName: 'pg', readOnly: true } }), []);
    assert.deepEqual(grouped({ name: 'v', hostPath: { path: '/srv' } }), []);
    assert.deepEqual(grouped({ name: 'v', nfs: { server: 's', path: '/' } }), []);
  });
});

test('units have names that systemd takes, however many dashes a volume’s name has', () => {
  const names = ['a', 'cache-of-the-web-front-end', `a${'-'.repeat(61)}b`, `a${'-'.repeat(60)}bc`];
  const units = names.flatMap(name =>
    mountUnitsOf(podOf([{ name, emptyDir: { medium: 'Memory' } }]), plainFacts),
  );
  assert.equal(new Set(units).size, names.length);
  assert.ok(units.every(unit => unit.length <= 200));
  assert.equal(units[1], unitOf('memory-cache\\x2dof\\x2dthe\\x2dweb\\x2dfront\\x2dend'));
});

test('no plan has the content of a volume in it', () => {
  const volume = { name: 'key', secret: { secretName: 'key', items: [{ key: 'k', path: 'p' }] } };
  const text = JSON.stringify(planVolumes(podOf([volume]), plainFacts));
  assert.match(text, /"key":"k"/);
  assert.doesNotMatch(text, /content":"(?!#)/);
});
