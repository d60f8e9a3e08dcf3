import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { SpawnletError } from '../host/error.ts';
import * as flags from './request.ts';

const refuses = (parse: () => unknown) => assert.throws(parse, { code: 'ERR_FLAG_VALUE' });

test('sizes are powers of 1024', () => {
  assert.deepEqual(
    ['1', '1b', '64k', '512m', '1.5g', '2GB', '1MiB'].map(text => flags.parseSize('memory', text)),
    [1, 1, 65_536, 536_870_912, 1_610_612_736, 2_147_483_648, 1_048_576],
  );
  for (const text of ['', 'm', '-1', '0', '1x', '1e9', '9'.repeat(30)])
    refuses(() => flags.parseSize('memory', text));
});

test('names are names of units', () => {
  for (const text of ['web', 'web-1', 'a.b_c', '0']) assert.equal(flags.parseName(text), text);
  for (const text of ['', '-x', '.x', 'a b', 'a/b', 'a\nb', 'x.service', 'x'.repeat(64)])
    refuses(() => flags.parseName(text));
});

test('volumes are absolute, relative to the caller, or the container’s own', () => {
  const bind = { kind: 'bind', target: '/b', readOnly: false, propagation: 'rprivate' };
  assert.deepEqual(flags.parseVolume('/a:/b', '/here'), { ...bind, source: '/a' });
  assert.deepEqual(flags.parseVolume('./a:/b/./:ro,rslave', '/here'), {
    ...bind,
    source: '/here/./a',
    readOnly: true,
    propagation: 'rslave',
  });
  assert.deepEqual(flags.parseVolume('/own', '/here'), { kind: 'anonymous', target: '/own' });
  for (const text of ['name:/b', '/a:b', '/a:/', '/a:/b:fast', '/a:/b:ro:x', '/a:/../b', ''])
    refuses(() => flags.parseVolume(text, '/here'));
});

test('devices have an access', () => {
  assert.deepEqual(flags.parseDevice('/dev/fuse'), {
    source: '/dev/fuse',
    target: '/dev/fuse',
    access: 'rwm',
  });
  assert.deepEqual(flags.parseDevice('/dev/a:/dev/b:r'), { source: '/dev/a', target: '/dev/b', access: 'r' });
  assert.deepEqual(flags.parseDevice('/dev/a:rw'), { source: '/dev/a', target: '/dev/a', access: 'rw' });
  for (const text of ['dev', '/dev/a:/dev/b:/dev/c', '/dev/a:x:y']) refuses(() => flags.parseDevice(text));
});

test('restart policies are systemd’s', () => {
  assert.deepEqual(['no', 'always', 'unless-stopped', 'on-failure', 'on-failure:3'].map(flags.parseRestart), [
    { kind: 'no' },
    { kind: 'always' },
    { kind: 'always' },
    { kind: 'on-failure' },
    { kind: 'on-failure', retries: 3 },
  ]);
  for (const text of ['', 'always:3', 'on-failure:', 'on-failure:-1'])
    refuses(() => flags.parseRestart(text));
});

test('variables are taken as written, or from the caller', () => {
  const environment = { MINE: 'x=y' };
  assert.deepEqual(
    ['A=b=c', 'MINE', 'ABSENT', 'A='].map(text => flags.parseEnv(text, environment)),
    ['A=b=c', 'MINE=x=y', undefined, 'A='],
  );
  assert.deepEqual(flags.parseEnvFile('# no\r\n\nA="q"\n  B=c d \nMINE\nABSENT', environment), [
    'A="q"',
    'B=c d ',
    'MINE=x=y',
  ]);
  refuses(() => flags.parseEnv('=x', {}));
});

test('an entrypoint is a program, a list, or none', () => {
  assert.deepEqual(['sh', '', '["sh","-c"]', '[]'].map(flags.parseEntrypoint), [
    ['sh'],
    [],
    ['sh', '-c'],
    [],
  ]);
  for (const text of ['[', '[1]', '["a"']) refuses(() => flags.parseEntrypoint(text));
});

test('security options are known ones', () => {
  assert.deepEqual(flags.parseSecurity(['no-new-privileges', 'seccomp=/a=b']), {
    noNewPrivileges: true,
    seccomp: '/a=b',
  });
  assert.deepEqual(flags.parseSecurity(['no-new-privileges:false', 'seccomp:unconfined']), {
    noNewPrivileges: false,
    seccomp: 'unconfined',
  });
  for (const text of ['label=disable', 'apparmor=x', 'seccomp', 'no-new-privileges=maybe'])
    refuses(() => flags.parseSecurity([text]));
});

test('whatever is given as a flag is parsed or refused with a hint', () => {
  const parsers: ((text: string) => unknown)[] = [
    flags.parseName,
    flags.parseTmpfs,
    flags.parseDevice,
    flags.parseRestart,
    flags.parseLabel,
    flags.parseEntrypoint,
    flags.parseWorkdir,
    flags.parseHostname,
    text => flags.parseVolume(text, '/'),
    text => flags.parseSize('memory', text),
    text => flags.parseEnv(text, {}),
    text => flags.parseSecurity([text]),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...parsers), fc.string({ unit: 'binary' }), (parse, text) => {
      try {
        parse(text);
      } catch (error) {
        assert.ok(error instanceof SpawnletError && error.hint, String(error));
      }
    }),
  );
});

test('ports are published as podman’s and docker’s words have it', () => {
  const tcp = { protocol: 'tcp' } as const;
  for (const [text, ports] of [
    ['8080:80', [{ ...tcp, hostPort: 8080, port: 80 }]],
    ['80', [{ ...tcp, port: 80 }]],
    ['127.0.0.1:5353:53/UDP', [{ protocol: 'udp', address: '127.0.0.1', hostPort: 5353, port: 53 }]],
    ['127.0.0.1::80', [{ ...tcp, address: '127.0.0.1', port: 80 }]],
    ['[fd00::7]:8080:80', [{ ...tcp, address: 'fd00::7', hostPort: 8080, port: 80 }]],
    ['0.0.0.0:8080:80', [{ ...tcp, hostPort: 8080, port: 80 }]],
    [
      '8000-8001:80-81',
      [
        { ...tcp, hostPort: 8000, port: 80 },
        { ...tcp, hostPort: 8001, port: 81 },
      ],
    ],
  ] as const)
    assert.deepEqual(flags.parsePublish(text), ports, text);
  for (const text of [
    '',
    '0:80',
    '80:0',
    '99999:80',
    'a:80',
    '80:80/sctp',
    '80-79:1-2',
    '1-2:80',
    '::1:80:80',
    '1.2.3:80:80',
    '80:80:80:80',
  ])
    refuses(() => flags.parsePublish(text));
});

test('what an image exposes is published port by port, SCTP left out', () => {
  assert.deepEqual(flags.exposedPorts(['80/tcp', '53/udp', '90-91', '99/sctp']), [
    { protocol: 'tcp', port: 80 },
    { protocol: 'udp', port: 53 },
    { protocol: 'tcp', port: 90 },
    { protocol: 'tcp', port: 91 },
  ]);
});

test('lines for /etc/hosts are a name and an address, or the host', () => {
  assert.deepEqual(flags.parseHost('db:10.0.0.5'), { name: 'db', address: '10.0.0.5' });
  assert.deepEqual(flags.parseHost('db:[fd00::5]'), { name: 'db', address: 'fd00::5' });
  assert.deepEqual(flags.parseHost('db:fd00::5'), { name: 'db', address: 'fd00::5' });
  assert.deepEqual(flags.parseHost('me:host-gateway'), { name: 'me' });
  for (const text of ['db', ':10.0.0.5', 'a b:10.0.0.5', 'db:', 'db:somewhere', 'db\n:10.0.0.5'])
    refuses(() => flags.parseHost(text));
});

test('no text of -p and --add-host is taken for more than it says', () => {
  fc.assert(
    fc.property(fc.string(), text => {
      for (const parse of [flags.parsePublish, flags.parseHost]) {
        try {
          assert.doesNotMatch(JSON.stringify(parse(text)), /['\\$`]/);
        } catch (error) {
          assert.ok(error instanceof SpawnletError);
        }
      }
    }),
  );
});

test('a limit of processes with which no container starts is refused', () => {
  assert.equal(flags.parsePids('4'), 4);
  for (const text of ['3', '1']) assert.throws(() => flags.parsePids(text), { hint: /less than 4$/ });
  for (const text of ['0', '-1', 'x']) assert.throws(() => flags.parsePids(text), { code: 'ERR_FLAG_VALUE' });
});
