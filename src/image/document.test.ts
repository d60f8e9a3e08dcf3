import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { SpawnletError } from '../host/error.ts';
import {
  maxDocumentSize,
  mediaTypes,
  parseConfig,
  parseDigest,
  parseIndex,
  parseManifest,
} from './document.ts';
import type { Document } from './source.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const config = { mediaType: mediaTypes.ociConfig, digest, size: 10 };
const layer = { mediaType: `${mediaTypes.ociLayer}+gzip`, digest, size: 20 };
const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
const index = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [
    { mediaType: mediaTypes.ociManifest, digest, size: 5, platform: { os: 'linux', architecture: 'amd64' } },
  ],
};
const image = {
  architecture: 'amd64',
  os: 'linux',
  rootfs: { type: 'layers', diff_ids: [digest] },
  config: {},
};

function document(value: unknown, mediaType: string = mediaTypes.ociManifest): Document {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
  return { mediaType, digest: `sha256:${'0'.repeat(64)}`, bytes };
}
const configOf = (fields: object) => parseConfig(Buffer.from(JSON.stringify({ ...image, config: fields })));

describe('an image manifest', () => {
  it('of OCI gives its config and its layers', () => {
    assert.deepEqual(parseManifest(document(manifest)), {
      mediaType: mediaTypes.ociManifest,
      config,
      layers: [layer],
    });
  });

  it('of Docker gives its config and its layers', () => {
    const docker = {
      ...manifest,
      mediaType: mediaTypes.dockerManifest,
      config: { ...config, mediaType: mediaTypes.dockerConfig },
      layers: [{ ...layer, mediaType: `${mediaTypes.dockerLayer}.gzip` }],
    };
    assert.equal(parseManifest(document(docker, mediaTypes.dockerManifest)).layers.length, 1);
  });

  for (const [what, value, code] of [
    ['a list', [], 'ERR_IMAGE_INVALID'],
    ['null', null, 'ERR_IMAGE_INVALID'],
    ['what is not JSON', Buffer.from('{'), 'ERR_IMAGE_INVALID'],
    ['what is not UTF-8', Buffer.from('{"a":"\xff"}', 'latin1'), 'ERR_IMAGE_INVALID'],
    ['schemaVersion 1', { ...manifest, schemaVersion: 1 }, 'ERR_IMAGE_INVALID'],
    ['no config', { ...manifest, config: undefined }, 'ERR_IMAGE_INVALID'],
    ['no layers', { ...manifest, layers: undefined }, 'ERR_IMAGE_INVALID'],
    ['129 layers', { ...manifest, layers: Array.from({ length: 129 }, () => layer) }, 'ERR_IMAGE_INVALID'],
    ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }, 'ERR_IMAGE_INVALID'],
    ['a size in fractions', { ...manifest, layers: [{ ...layer, size: 1.5 }] }, 'ERR_IMAGE_INVALID'],
    ['a size that is a string', { ...manifest, layers: [{ ...layer, size: '1' }] }, 'ERR_IMAGE_INVALID'],
    ['a huge config', { ...manifest, config: { ...config, size: maxDocumentSize + 1 } }, 'ERR_IMAGE_INVALID'],
    [
      'an artifact',
      { ...manifest, config: { ...config, mediaType: 'application/vnd.cncf.helm' } },
      'ERR_IMAGE_UNSUPPORTED',
    ],
    [
      'a foreign layer',
      {
        ...manifest,
        layers: [{ ...layer, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' }],
      },
      'ERR_IMAGE_UNSUPPORTED',
    ],
    [
      'a nondistributable layer',
      {
        ...manifest,
        layers: [{ ...layer, mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' }],
      },
      'ERR_IMAGE_UNSUPPORTED',
    ],
    [
      'an encrypted layer',
      { ...manifest, layers: [{ ...layer, mediaType: `${layer.mediaType}+encrypted` }] },
      'ERR_IMAGE_UNSUPPORTED',
    ],
  ] as const)
    it(`is refused as ${code} with ${what}`, () => {
      assert.throws(() => parseManifest(document(value)), { code });
    });

  it('of Docker schema 1 is refused by name', () => {
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    assert.throws(() => parseManifest(document(manifest, type)), {
      code: 'ERR_IMAGE_UNSUPPORTED',
      message: /schema 1/,
    });
  });

  it('that is a login page is refused with its media type', () => {
    assert.throws(() => parseManifest(document(Buffer.from('<html>'), 'text/html')), {
      message: /text\/html/,
    });
  });

  it('over 4 MiB is refused', () => {
    const padded = Buffer.concat([Buffer.from(JSON.stringify(manifest)), Buffer.alloc(maxDocumentSize, ' ')]);
    assert.throws(() => parseManifest(document(padded)), { message: /over 4194304 bytes/ });
  });

  it('nested a million deep is refused, without running out of stack', () => {
    assert.throws(() => parseManifest(document(Buffer.alloc(1_000_000, '['))), { code: 'ERR_IMAGE_INVALID' });
  });
});

describe('CVE-2021-41190: a document that is both a manifest and an index', () => {
  const both = { ...manifest, ...index };
  for (const [what, value, type] of [
    [
      'served as a manifest, says it is an index',
      { ...manifest, mediaType: mediaTypes.ociIndex },
      mediaTypes.ociManifest,
    ],
    [
      'served as a manifest, has manifests',
      { ...both, mediaType: mediaTypes.ociManifest },
      mediaTypes.ociManifest,
    ],
    ['says nothing, has manifests and layers', { ...both, mediaType: undefined }, mediaTypes.ociManifest],
    ['has Manifests, which Go reads as manifests', { ...manifest, Manifests: [] }, mediaTypes.ociManifest],
    ['has the layers of schema 1', { ...manifest, fsLayers: [] }, mediaTypes.ociManifest],
  ] as const)
    it(`is refused as a manifest: ${what}`, () => {
      assert.throws(() => parseManifest(document(value, type)), { code: 'ERR_IMAGE_INVALID' });
    });

  for (const [what, value] of [
    ['served as an index, says it is a manifest', { ...index, mediaType: mediaTypes.ociManifest }],
    ['served as an index, has layers', { ...index, layers: [layer] }],
    ['served as an index, has a config', { ...index, config }],
    ['says nothing, has manifests and layers', { ...both, mediaType: undefined }],
  ] as const)
    it(`is refused as an index: ${what}`, () => {
      assert.throws(() => parseIndex(document(value, mediaTypes.ociIndex)), { code: 'ERR_IMAGE_INVALID' });
    });

  it('is not parsed as what it was not served as', () => {
    assert.throws(() => parseManifest(document({ ...index }, mediaTypes.ociIndex)), {
      code: 'ERR_IMAGE_INVALID',
    });
    assert.throws(() => parseIndex(document({ ...manifest })), { code: 'ERR_IMAGE_INVALID' });
  });
});

describe('CVE-2024-3727: a digest that is used as a path', () => {
  for (const text of [
    '../../../etc/passwd',
    'sha256:../../etc/passwd',
    `sha256:${'a'.repeat(63)}`,
    `sha256:${'a'.repeat(63)}/`,
    `sha256:${'A'.repeat(64)}`,
    `sha512:${'a'.repeat(128)}`,
    `${digest}\n`,
    ` ${digest}`,
    '',
    7,
  ])
    it(`${JSON.stringify(text).slice(0, 30)} is refused wherever a digest may stand`, () => {
      assert.throws(() => parseDigest(text, '.x'), { code: 'ERR_IMAGE_INVALID' });
      assert.throws(() => parseManifest(document({ ...manifest, layers: [{ ...layer, digest: text }] })), {
        code: 'ERR_IMAGE_INVALID',
      });
      assert.throws(() => parseManifest(document({ ...manifest, config: { ...config, digest: text } })), {
        code: 'ERR_IMAGE_INVALID',
      });
      const listed = { ...index, manifests: [{ ...index.manifests[0], digest: text }] };
      assert.throws(() => parseIndex(document(listed, mediaTypes.ociIndex)), { code: 'ERR_IMAGE_INVALID' });
      const bytes = Buffer.from(JSON.stringify({ ...image, rootfs: { type: 'layers', diff_ids: [text] } }));
      assert.throws(() => parseConfig(bytes), { code: 'ERR_IMAGE_INVALID' });
    });
});

describe('an image config', () => {
  it('gives what an image says of itself', () => {
    const parsed = configOf({
      Entrypoint: ['/run'],
      Cmd: ['a', 'b\nc'],
      Env: ['PATH=/bin', 'TEXT=two\nlines', 'EMPTY='],
      User: 'app:1001',
      WorkingDir: '/srv//app/',
      StopSignal: 'SIGQUIT',
      Volumes: { '/data': {} },
      Labels: { maintainer: 'x\ny' },
      ExposedPorts: { '80/tcp': {} },
    });
    assert.deepEqual(
      { ...parsed, labels: { ...parsed.labels } },
      {
        platform: { os: 'linux', architecture: 'amd64' },
        diffIds: [digest],
        entrypoint: ['/run'],
        cmd: ['a', 'b\nc'],
        env: ['PATH=/bin', 'TEXT=two\nlines', 'EMPTY='],
        user: 'app:1001',
        workingDir: '/srv/app',
        stopSignal: 'SIGQUIT',
        volumes: ['/data'],
        labels: { maintainer: 'x\ny' },
        exposedPorts: ['80/tcp'],
      },
    );
  });

  it('may leave everything out, or say null as Go does', () => {
    for (const fields of [
      {},
      { Entrypoint: null, Cmd: null, Env: null, Labels: null, Volumes: null, WorkingDir: '' },
    ]) {
      const { entrypoint, env, workingDir, stopSignal, volumes } = configOf(fields);
      assert.deepEqual(
        { entrypoint, env, workingDir, stopSignal, volumes },
        { entrypoint: [], env: [], workingDir: '/', stopSignal: undefined, volumes: [] },
      );
    }
  });

  for (const [what, fields] of [
    ['an environment entry without a name', { Env: ['=x'] }],
    ['an environment entry without =', { Env: ['PATH'] }],
    ['a NUL in the environment', { Env: ['A=\0'] }],
    ['a newline in a variable’s name', { Env: ['A\nB=c'] }],
    ['a NUL in an argument', { Cmd: ['a\0b'] }],
    ['an argument that is a number', { Cmd: [1] }],
    ['a command that is a string', { Cmd: 'sh -c x' }],
    ['a newline in the user', { User: 'root\nUser=x' }],
    ['two colons in the user', { User: 'a:b:c' }],
    ['a newline in the working directory', { WorkingDir: '/a\nb' }],
    ['a relative working directory', { WorkingDir: 'a' }],
    ['a stop signal with a newline', { StopSignal: 'SIGTERM\nExecStartPre=/x' }],
    ['a stop signal with a space', { StopSignal: 'SIG TERM' }],
    ['a relative volume', { Volumes: { data: {} } }],
    ['the root as a volume', { Volumes: { '/': {} } }],
    ['the root as a volume, spelled otherwise', { Volumes: { '//./': {} } }],
    ['CVE-2022-23648: a volume that climbs', { Volumes: { '/../../../../../../../var/lib': {} } }],
    ['a label that is an object', { Labels: { a: {} } }],
    ['a newline in a label’s name', { Labels: { 'a\nb': 'c' } }],
    ['5,000 labels', { Labels: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`l${i}`, ''])) }],
    ['a health check that never ends', { Healthcheck: { Test: ['CMD', 'x'], Timeout: -1 } }],
    ['a port that is a path', { ExposedPorts: { '../x': {} } }],
    ['half of a surrogate pair', { User: '\ud800' }],
  ] as const)
    it(`is refused with ${what}`, () => {
      assert.throws(() => configOf(fields), { code: 'ERR_IMAGE_INVALID' });
    });

  it('with __proto__ and constructor as names changes no other object', () => {
    const text = `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
      "__proto__":{"config":{"User":"evil"}},
      "config":{"Labels":{"__proto__":"x","constructor":"y"},"__proto__":{"User":"evil","Entrypoint":["/evil"]}}}`;
    const parsed = parseConfig(Buffer.from(text));
    assert.equal(parsed.user, '');
    assert.deepEqual(parsed.entrypoint, []);
    assert.deepEqual(Object.entries(parsed.labels), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
    assert.equal(Object.getPrototypeOf(parsed.labels), null);
    assert.equal(({} as Record<string, unknown>)['config'], undefined);
  });
});

it('hostile JSON is parsed or refused as an image’s fault, never an internal error', () => {
  const anything = fc.jsonValue();
  const mixed = fc
    .tuple(
      fc.constantFrom(manifest, index, image),
      fc.constantFrom('config', 'layers', 'manifests', 'rootfs', 'mediaType', 'os'),
      anything,
    )
    .map(([base, name, value]) => ({ ...base, [name]: value }));
  fc.assert(
    fc.property(fc.oneof(anything, mixed), value => {
      const bytes = Buffer.from(JSON.stringify(value));
      for (const parse of [
        () => parseManifest(document(bytes)),
        () => parseIndex(document(bytes, mediaTypes.ociIndex)),
        () => parseConfig(bytes),
      ])
        try {
          parse();
        } catch (error) {
          assert.ok(error instanceof SpawnletError, String(error));
        }
    }),
  );
});
