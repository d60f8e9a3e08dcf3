import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { copy, parsePlace } from '../../src/lab/copy.ts';
import { host, type TestLab, useLab } from '../harness/lab.ts';

let lab: TestLab;
let here: string;
const bytes = randomBytes(300_000);
const cp = (from: string, to: string) =>
  copy(host, parsePlace(from), parsePlace(to), AbortSignal.timeout(30_000));
const read = (path: string) => lab.exec(['cat', path]).then(({ stdout }) => stdout);

before(async () => {
  lab = await useLab();
  here = await mkdtemp(join(tmpdir(), 'lab-cp-'));
  await mkdir(join(here, 'tree/sub'), { recursive: true });
  await writeFile(join(here, 'tree/sub/file'), bytes);
  await writeFile(join(here, 'tree/script'), '#!/bin/sh\n');
  await chmod(join(here, 'tree/script'), 0o750);
  await symlink('sub/file', join(here, 'tree/link'));
});

after(async () => {
  await rm(here, { recursive: true });
  await lab[Symbol.asyncDispose]();
});

test('a file goes into a lab under a new name, with its mode, and comes back the same', async () => {
  await cp(join(here, 'tree/script'), `${lab.name}:/opt/run`);
  assert.equal(await lab.read(['stat', '-c', '%a %u', '/opt/run']), '750 0\n');
  await cp(join(here, 'tree/sub/file'), `${lab.name}:/opt`);
  await cp(`${lab.name}:/opt/file`, join(here, 'back'));
  assert.ok((await readFile(join(here, 'back'))).equals(bytes));
});

test('a tree goes into a directory that is there under its own name, else as the name given', async () => {
  await cp(join(here, 'tree'), `${lab.name}:/srv`);
  assert.ok((await read('/srv/tree/sub/file')).equals(bytes));
  await cp(join(here, 'tree'), `${lab.name}:/srv/new`);
  assert.equal(await lab.read(['readlink', '/srv/new/link']), 'sub/file\n');
  await cp(`${join(here, 'tree')}/.`, `${lab.name}:/srv`);
  assert.ok((await read('/srv/sub/file')).equals(bytes));
});

test('a tree comes out of a lab', async () => {
  await lab.read(['sh', '-c', 'mkdir -p /data/x && echo hi >/data/x/y && chmod 600 /data/x/y']);
  await cp(`${lab.name}:/data`, join(here, 'out'));
  assert.equal(await readFile(join(here, 'out/x/y'), 'utf8'), 'hi\n');
  assert.equal((await stat(join(here, 'out/x/y'))).mode & 0o777, 0o600);
});

test('what cannot be copied is refused by name', async () => {
  await assert.rejects(cp(`${lab.name}:/nothing`, here), {
    code: 'ERR_LAB_COPY',
    message: `there is no ${lab.name}:/nothing`,
  });
  await assert.rejects(cp(join(here, 'tree'), `${lab.name}:/etc/hostname`), { code: 'ERR_LAB_COPY' });
  await assert.rejects(cp(join(here, 'tree/script'), `${lab.name}:/no/such/dir/`), { code: 'ERR_LAB_COPY' });
});
