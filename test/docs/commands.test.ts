import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { parseInput } from '../../src/cli/command.ts';
import { entries, findEntry } from '../../src/cli/registry.ts';

const checkout = resolve(import.meta.dirname, '../..');

async function pages(): Promise<readonly { readonly name: string; readonly text: string }[]> {
  const names: string[] = [];
  for await (const name of glob('{*.md,docs/**/*.md}', { cwd: checkout })) names.push(name);
  return Promise.all(
    names.sort().map(async name => ({ name, text: await readFile(join(checkout, name), 'utf8') })),
  );
}

/** Words of a line of shell: quotes are taken off, a comment or a redirection ends it. */
function wordsOf(line: string): string[] {
  const words = [...line.matchAll(/'([^']*)'|"([^"]*)"|[^\s'"]+/g)].map(
    match => match[1] ?? match[2] ?? match[0],
  );
  const end = words.findIndex(word => /^(#|[<>|;&]|\d?>)/.test(word));
  return end === -1 ? words : words.slice(0, end);
}

/** Every command line of spawnlet in a page's examples. */
function* commandLines(text: string): Generator<string[]> {
  for (const block of text.replaceAll('\\\n', ' ').split('\n')) {
    const match = /^ {4}(?:bin\/)?spawnlet (.*)$/.exec(block);
    if (match?.[1] !== undefined) yield wordsOf(match[1]);
  }
}

test('every command line in the documentation is one that spawnlet takes', async () => {
  let count = 0;
  for (const { name, text } of await pages()) {
    for (const words of commandLines(text.replaceAll(/^ {4}spawnlet: .*$/gm, ''))) {
      const found = findEntry(words);
      assert.ok(found, `${name}: spawnlet ${words.join(' ')}`);
      const command = await found.entry.load();
      assert.doesNotThrow(() => parseInput(command, found.rest), `${name}: spawnlet ${words.join(' ')}`);
      count++;
    }
  }
  assert.ok(count > 40, `${count} command lines were found`);
});

test('the examples of --help are ones that spawnlet takes', async () => {
  for (const entry of entries) {
    const command = await entry.load();
    assert.equal(command.name, entry.name);
    assert.equal(command.summary, entry.summary);
    if (Object.keys(command.options).length > 0)
      assert.match(command.synopsis, /\[FLAG…\]|\[-/, `${command.name} tells that it has flags`);
    for (const [line] of command.examples.filter(([text]) => text.startsWith('spawnlet '))) {
      const found = findEntry(wordsOf(line).slice(1));
      assert.ok(found, line);
      assert.doesNotThrow(() => parseInput(command, found.rest), line);
    }
  }
});

test('links between the pages lead somewhere', async () => {
  for (const { name, text } of await pages()) {
    for (const [, target = ''] of text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const at = join(checkout, dirname(name), target);
      await assert.doesNotReject(
        import('node:fs/promises').then(fs => fs.stat(at)),
        `${name}: ${target}`,
      );
    }
  }
});

test('docs/on-disk.md names every place of src/names.ts', async () => {
  const page = await readFile(join(checkout, 'docs/on-disk.md'), 'utf8');
  const names = (await import('../../src/names.ts')) as unknown as Record<string, unknown>;
  for (const [key, value] of Object.entries(names)) {
    if (typeof value !== 'string' || !value.startsWith('/')) continue;
    const shown = page.includes(value) || page.includes(`\`${value.slice(value.lastIndexOf('/') + 1)}/\``);
    assert.ok(shown, `${key}: ${value}`);
  }
});
