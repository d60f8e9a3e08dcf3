import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parsePackageImage, requireChecksum } from './image.ts';

const sha256 = 'a'.repeat(64);

test('an image is a package, a version of one, the URL of one, or a path', () => {
  assert.deepEqual(parsePackageImage('uptimed'), { kind: 'package', name: 'uptimed' });
  assert.deepEqual(parsePackageImage('g++:latest'), { kind: 'package', name: 'g++' });
  assert.deepEqual(parsePackageImage('vim:2:9.0.1378-2+deb12u2'), {
    kind: 'package',
    name: 'vim',
    version: '2:9.0.1378-2+deb12u2',
  });
  assert.deepEqual(parsePackageImage('/usr/sbin/nginx'), { kind: 'path', path: '/usr/sbin/nginx' });
  assert.deepEqual(parsePackageImage(`https://a.test/x_1_all.deb#sha256=${sha256}`), {
    kind: 'url',
    url: 'https://a.test/x_1_all.deb',
    sha256,
  });
});

test('what a package manager could take for something else is no image', () => {
  const words = [
    '',
    '-y',
    '--option=x',
    'a b',
    'a;b',
    'docker.io/library/nginx',
    'nginx:',
    'nginx:-1',
    'a/b',
    '/a/../b',
    '/bin/',
    'http://a.test/x.deb',
    'https://u:p@a.test/x.deb',
    'https://a.test/x.deb#sha256=1',
    'deb://x',
    'a=1',
    'a,b',
    'a*',
    'nginx@sha256:1',
  ];
  for (const word of words) assert.throws(() => parsePackageImage(word), { code: 'ERR_PACKAGE_IMAGE' }, word);
});

test('a URL needs a checksum, unless that is let pass', () => {
  const image = parsePackageImage('https://a.test/x.deb');
  assert.throws(() => requireChecksum(image, false), { code: 'ERR_PACKAGE_CHECKSUM' });
  requireChecksum(image, true);
  requireChecksum(parsePackageImage(`https://a.test/x.deb#sha256=${sha256}`), false);
});

test('whatever is taken for a name is one word that begins with a letter or digit', () => {
  fc.assert(
    fc.property(fc.string(), text => {
      let image: ReturnType<typeof parsePackageImage>;
      try {
        image = parsePackageImage(text);
      } catch {
        return;
      }
      if (image.kind === 'package')
        for (const word of [image.name, image.version ?? 'x'])
          assert.match(word, /^[A-Za-z0-9][A-Za-z0-9.+~^:_-]*$/);
    }),
  );
});
