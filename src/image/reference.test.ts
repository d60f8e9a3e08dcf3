import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { formatReference, localName, parseReference, type Reference } from './reference.ts';

const hex = 'a'.repeat(64);
const canonical = (text: string) => formatReference(parseReference(text));

describe('an image reference', () => {
  for (const [written, meant] of [
    ['nginx', 'docker.io/library/nginx:latest'],
    ['nginx:1.27', 'docker.io/library/nginx:1.27'],
    ['bitnami/nginx', 'docker.io/bitnami/nginx:latest'],
    ['docker.io/nginx', 'docker.io/library/nginx:latest'],
    ['index.docker.io/nginx', 'docker.io/library/nginx:latest'],
    ['docker://nginx', 'docker.io/library/nginx:latest'],
    ['localhost/x', 'localhost/x:latest'],
    ['localhost:5000/x:tag', 'localhost:5000/x:tag'],
    ['10.0.0.1:5000/a/b', '10.0.0.1:5000/a/b:latest'],
    ['[::1]:5000/x', '[::1]:5000/x:latest'],
    ['Host/x', 'Host/x:latest'],
    [`quay.io/x@sha256:${hex}`, `quay.io/x@sha256:${hex}`],
    [`quay.io/x:1@sha256:${hex}`, `quay.io/x:1@sha256:${hex}`],
    ['a__b/c---d/e.f_g', 'docker.io/a__b/c---d/e.f_g:latest'],
    ['oci:some/dir', 'oci:some/dir'],
    ['oci:/dir:1.0', 'oci:/dir:1.0'],
    ['oci:/dir:quay.io/x:1', 'oci:/dir:quay.io/x:1'],
    ['oci-archive:x.tar', 'oci-archive:x.tar'],
    ['docker-archive:x.tar', 'docker-archive:x.tar'],
    ['docker-archive:x.tar:nginx', 'docker-archive:x.tar:docker.io/library/nginx:latest'],
  ] as const)
    it(`${written.slice(0, 40)} means ${meant.slice(0, 50)}`, () => assert.equal(canonical(written), meant));

  for (const [written, why] of [
    ['', /missing/],
    ['/x', /slash/],
    ['Nginx', /lower case/],
    ['x:', /tag/],
    ['x:-a', /tag/],
    [`x:${'a'.repeat(129)}`, /tag/],
    ['x@sha256:abc', /digest/],
    [`x@sha256:${'A'.repeat(64)}`, /digest/],
    [`x@sha512:${'a'.repeat(128)}`, /digest/],
    [hex, /an ID/],
    ['a//b', /part of a name/],
    ['a/../b', /part of a name/],
    ['a b', /part of a name/],
    ['x\n', /part of a name/],
    ['localhost:99999/x', /host/],
    ['ex_ample.com/x', /host/],
    ['localhost/', /missing/],
    [`a/${'b'.repeat(255)}`, /255/],
    ['oci:', /path is missing/],
    ['oci:dir:', /nothing follows/],
    ['oci:dir:a b', /tag/],
    ['dir:/x', /transport dir: is not supported/],
    ['containers-storage:x', /not supported/],
    [`docker-archive:x:y@sha256:${hex}`, /not digests/],
  ] as const)
    it(`${JSON.stringify(written.slice(0, 30))} is refused`, () => {
      assert.throws(() => parseReference(written), { code: 'ERR_REFERENCE', message: why });
    });

  it('is the same after it was written in full', () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,8}([._-][a-z0-9]{1,5})?$/);
    const registry: fc.Arbitrary<Reference> = fc
      .record({
        transport: fc.constant('docker' as const),
        registry: fc.constantFrom(
          'docker.io',
          'quay.io',
          'localhost',
          'localhost:5000',
          '[::1]:1',
          '10.0.0.1:5000',
        ),
        parts: fc.array(part, { minLength: 2, maxLength: 4 }),
        tag: fc.option(fc.stringMatching(/^\w[\w.-]{0,20}$/)),
        digest: fc.option(fc.stringMatching(/^[0-9a-f]{64}$/)),
      })
      .map(({ parts, tag, digest, ...rest }) => ({
        ...rest,
        repository: parts.join('/'),
        ...(tag !== null && { tag }),
        ...(digest !== null && { digest: `sha256:${digest}` as const }),
        ...(tag === null && digest === null && { tag: 'latest' }),
      }));
    fc.assert(
      fc.property(registry, reference => {
        assert.deepEqual(parseReference(formatReference(reference)), reference);
      }),
    );
  });

  it('is refused or has one canonical spelling, whatever the text', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(...Array.from('aZ0/:@.-_[]\n\0 ')) }),
    );
    fc.assert(
      fc.property(text, written => {
        let once: string;
        try {
          once = canonical(written);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'ERR_REFERENCE');
          return;
        }
        assert.equal(canonical(once), once);
      }),
    );
  });
});

describe('the name of an image without a registry', () => {
  for (const [path, refName, name] of [
    ['dir/My App', undefined, 'localhost/my-app:latest'],
    ['/x/app.tar.gz', undefined, 'localhost/app:latest'],
    ['app.tar', '1.0', 'localhost/app:1.0'],
    ['app.tar', 'quay.io/x/y:2', 'quay.io/x/y:2'],
    ['app.tar', 'x/y:2', 'localhost/x/y:2'],
    ['app.tar', 'not a\nname', 'localhost/app:latest'],
    ['/', undefined, 'localhost/image:latest'],
  ] as const)
    it(`${path} with ${JSON.stringify(refName)} is ${name}`, () =>
      assert.equal(localName(path, refName), name));
});
