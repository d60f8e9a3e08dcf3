import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { FakeChildren } from '../host/child.ts';
import { FakeFiles } from '../host/files.ts';
import { type Credential, defaultFiles, findCredential } from './credentials.ts';

const env = { HOME: '/home/u', XDG_RUNTIME_DIR: '/run/user/1' };
const podmanFile = '/run/user/1/containers/auth.json';
const dockerFile = '/home/u/.docker/config.json';
const auth = (pair: string) => ({ auth: Buffer.from(pair).toString('base64') });
const signal = new AbortController().signal;

async function find(
  name: string,
  files: Readonly<Record<string, unknown>>,
  more: { env?: NodeJS.ProcessEnv; children?: FakeChildren; authFile?: string } = {},
): Promise<string | undefined> {
  const fake = new FakeFiles();
  for (const [path, content] of Object.entries(files)) {
    await fake.makeDirectory(path.slice(0, path.lastIndexOf('/')), 0o700);
    await fake.write(path, typeof content === 'string' ? content : JSON.stringify(content), 0o600);
  }
  const slash = name.indexOf('/');
  const options = { files: fake, children: new FakeChildren(), env, ...more };
  return shown(await findCredential(name.slice(0, slash), name.slice(slash + 1), options, signal));
}

function shown(credential: Credential | undefined): string | undefined {
  if (credential?.kind === 'basic') return `${credential.username}:${credential.password.reveal()}`;
  return credential && `token ${credential.token.reveal()}`;
}

describe('credentials', () => {
  it('are those of the longest matching path', async () => {
    const file = { auths: { 'r.io': auth('host:1'), 'r.io/a': auth('a:2'), 'r.io/a/b': auth('ab:3:4') } };
    assert.equal(await find('r.io/a/b', { [podmanFile]: file }), 'ab:3:4');
    assert.equal(await find('r.io/a/c', { [podmanFile]: file }), 'a:2');
    assert.equal(await find('r.io/ab', { [podmanFile]: file }), 'host:1');
    assert.equal(await find('r.io:5000/a', { [podmanFile]: file }), undefined);
  });

  it('of Docker Hub stand under the URL that docker login writes', async () => {
    const file = { auths: { 'https://index.docker.io/v1/': auth('hub:1') } };
    assert.equal(await find('docker.io/library/nginx', { [dockerFile]: file }), 'hub:1');
    assert.equal(await find('r.io/x', { [dockerFile]: { auths: { 'https://r.io': auth('u:1') } } }), 'u:1');
  });

  it('are looked for in podman’s files before docker’s', async () => {
    const files = {
      [dockerFile]: { auths: { 'r.io': auth('docker:1') } },
      [podmanFile]: { auths: { 'r.io': auth('podman:1') } },
    };
    assert.equal(await find('r.io/x', files), 'podman:1');
    assert.equal(
      await find('r.io/x', { ...files, [podmanFile]: { auths: { 'other.io': auth('o:1') } } }),
      'docker:1',
    );
  });

  it('are looked for in the file of --authfile, whatever REGISTRY_AUTH_FILE says', async () => {
    const files = {
      '/x/flag.json': { auths: { 'r.io': auth('flag:1') } },
      '/x/variable.json': { auths: { 'r.io': auth('variable:1') } },
    };
    const named = { authFile: '/x/flag.json', env: { ...env, REGISTRY_AUTH_FILE: '/x/variable.json' } };
    assert.equal(await find('r.io/x', files, named), 'flag:1');
  });

  it('are looked for in REGISTRY_AUTH_FILE alone, where that is set', async () => {
    const files = { '/x/a.json': { auths: {} }, [podmanFile]: { auths: { 'r.io': auth('podman:1') } } };
    assert.equal(
      await find('r.io/x', files, { env: { ...env, REGISTRY_AUTH_FILE: '/x/a.json' } }),
      undefined,
    );
    await assert.rejects(find('r.io/x', files, { env: { ...env, REGISTRY_AUTH_FILE: '/gone' } }), {
      code: 'ERR_AUTH_FILE',
    });
  });

  it('lie where DOCKER_CONFIG and XDG_CONFIG_HOME say', () => {
    assert.deepEqual(defaultFiles({ HOME: '/h', DOCKER_CONFIG: '/d', XDG_CONFIG_HOME: '/c' }).slice(-2), [
      '/c/containers/auth.json',
      '/d/config.json',
    ]);
  });

  it('may be an identity token', async () => {
    const file = { auths: { 'r.io': { ...auth('u:x'), identitytoken: 'abc' } } };
    assert.equal(await find('r.io/x', { [podmanFile]: file }), 'token abc');
  });

  it('come from the helper of the registry, or of the file when its entry is empty', async () => {
    const answer = (username: string) => () => ({
      stdout: Buffer.from(JSON.stringify({ Username: username, Secret: 's' })),
    });
    const children = new FakeChildren({
      'docker-credential-one': answer('one'),
      'docker-credential-all': answer('<token>'),
    });
    const file = { credHelpers: { 'r.io': 'one' }, credsStore: 'all', auths: { 'other.io': {} } };
    assert.equal(await find('r.io/x', { [dockerFile]: file }, { children }), 'one:s');
    assert.equal(await find('other.io/x', { [dockerFile]: file }, { children }), 'token s');
    assert.deepEqual(children.calls[0], ['docker-credential-one', 'get']);
  });

  it('that a helper does not know are none, and its other failures an error', async () => {
    const notFound = new FakeChildren({
      'docker-credential-h': () => ({
        code: 1,
        stdout: Buffer.from('credentials not found in native keychain\n'),
      }),
    });
    const file = { [dockerFile]: { credsStore: 'h' } };
    assert.equal(await find('r.io/x', file, { children: notFound }), undefined);
    const broken = new FakeChildren({
      'docker-credential-h': () => ({ code: 2, stdout: Buffer.from('secret') }),
    });
    await assert.rejects(find('r.io/x', file, { children: broken }), { code: 'ERR_CREDENTIAL_HELPER' });
  });

  it('are not asked of a helper whose name leads elsewhere', async () => {
    for (const name of ['../../tmp/evil', 'a b', '-x', ''])
      await assert.rejects(find('r.io/x', { [dockerFile]: { credHelpers: { 'r.io': name } } }), {
        code: 'ERR_AUTH_FILE',
      });
  });

  it('are in no error, whatever is wrong with the file', async () => {
    const secret = 'c2VjcmV0OnNlY3JldA';
    for (const content of [
      `{"auths":{"r.io":{"auth":"${secret}"}}`,
      secret,
      `{"auths":{"r.io":{"auth":"${Buffer.from(secret).toString('base64')}"}}}`,
    ])
      await assert.rejects(find('r.io/x', { [podmanFile]: content }), (error: Error) => {
        assert.equal((error as { code?: string }).code, 'ERR_AUTH_FILE');
        assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }), /c2Vj|secret/);
        return true;
      });
  });

  it('do not show themselves in a log or in JSON', async () => {
    const fake = new FakeFiles();
    await fake.makeDirectory('/x', 0o700);
    await fake.write('/x/a', JSON.stringify({ auths: { 'r.io': auth('me:hunter2') } }), 0o600);
    const options = { files: fake, children: new FakeChildren(), env: { REGISTRY_AUTH_FILE: '/x/a' } };
    const credential = await findCredential('r.io', 'x', options, signal);
    assert.equal(shown(credential), 'me:hunter2');
    assert.doesNotMatch(
      inspect(credential, { depth: 9, showHidden: true }) + JSON.stringify(credential),
      /hunter2/,
    );
    assert.ok(credential?.kind === 'basic');
    assert.doesNotMatch(String(credential.password), /hunter2/);
  });
});
