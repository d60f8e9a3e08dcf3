import type { ImageStep } from '../image/executors.ts';
import { formatReference, parseReference } from '../image/reference.ts';
import type { StoredImage } from '../image/stored-image.ts';
import { authFileOption, defineCommand, documentOption, dryRunOption, outputOption } from './command.ts';
import type { Context } from './context.ts';
import { ago, bytes, type List, print, printList } from './output.ts';
import { showProgress } from './progress.ts';

/** A row as `-o json` gives it. */
function rowOf(image: StoredImage) {
  return {
    names: image.names,
    id: image.id,
    digest: image.root,
    manifest: image.manifest,
    created: image.config.created ?? '',
    layers: image.layers.length,
    size: image.size,
    platform: image.config.platform,
  };
}

type Row = ReturnType<typeof rowOf>;

/** An ID as podman prints it. */
const hexOf = (id: string) => id.slice('sha256:'.length);

const list = (now: number): List<Row> => ({
  lines: row => (row.names.length > 0 ? row.names : ['<none>']).map(name => ({ ...row, names: [name] })),
  columns: [
    ['NAME', row => row.names.join(' ')],
    ['ID', row => hexOf(row.id).slice(0, 12)],
    ['CREATED', row => (row.created === '' ? '' : ago(Date.parse(row.created), now))],
    ['SIZE', row => bytes(row.size)],
  ],
  key: row => hexOf(row.id),
});

/** An image that is there, and what the store calls it: names are canonical there, IDs stay as they are. */
async function stored(context: Context, text: string): Promise<{ name: string; image: StoredImage }> {
  const store = await context.store();
  const byId = /^(sha256:)?[0-9a-f]{3,64}$/.test(text) ? await store.find(text) : undefined;
  if (byId) return { name: text, image: byId };
  const reference = parseReference(text);
  const name = reference.transport === 'docker' ? formatReference(reference) : text;
  return { name, image: await store.get(name) };
}

async function apply(context: Context, title: string, step: ImageStep, dryRun: boolean): Promise<void> {
  const applier = await context.applier();
  const plan = { title, ifInterrupted: 'undo', steps: [step] } as const;
  if (dryRun) process.stdout.write(await applier.dryRun(plan));
  else await applier.apply(plan, context.signal);
}

export const pull = defineCommand({
  name: 'image pull',
  group: 'Images',
  summary: 'Fetch an image and unpack it',
  synopsis: '[FLAG…] IMAGE…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: {
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', help: "another platform than this machine's" },
    quiet: { type: 'boolean', short: 'q', help: 'print the ID alone' },
    'tls-verify': { type: 'boolean', initially: true, help: '--tls-verify=false for a registry without TLS' },
    authfile: authFileOption,
    ...dryRunOption,
  },
  refused: {
    creds: 'podman login, or write an auth.json: --authfile',
    'all-tags': 'name the tags',
    a: 'name the tags',
  },
  examples: [
    ['spawnlet image pull nginx:1.27', 'from docker.io'],
    ['spawnlet image pull docker-archive:web.tar', "a file that 'docker save' wrote"],
    ['spawnlet image pull oci:./build:latest', 'a directory in OCI layout'],
  ],
  async run({ options, arguments: references }, context) {
    context.tlsVerify = options['tls-verify'];
    context.authFile = options.authfile;
    using _progress = options.quiet ? undefined : showProgress(context);
    const [os = '', architecture = '', variant] = (options.platform ?? '').split('/');
    const platform = { os, architecture, ...(variant !== undefined && { variant }) };
    for (const reference of references) {
      const step = {
        do: 'pull-image',
        reference,
        when: 'always',
        ...(options.platform && { platform }),
      } as const;
      context.listeners.pulled = image => {
        if (!options.quiet) process.stderr.write(`Digest: ${image.root}\n`);
        process.stdout.write(`${hexOf(image.id)}\n`);
      };
      await apply(context, `pull ${reference}`, step, options['dry-run']);
    }
    return 0;
  },
});

export const ls = defineCommand({
  name: 'image ls',
  group: 'Images',
  summary: 'List images',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: { quiet: { type: 'boolean', short: 'q', help: 'IDs only' }, ...outputOption },
  refused: { format: 'use -o json or -o yaml', filter: 'spawnlet image ls -o json gives every field' },
  examples: [['spawnlet image ls', 'what is in the store']],
  async run({ options }, context) {
    const rows = (await (await context.store()).images()).map(rowOf);
    await printList(rows, list(context.host.clock.now()), options);
    return 0;
  },
});

export const inspect = defineCommand({
  name: 'image inspect',
  group: 'Images',
  summary: 'Show an image’s configuration',
  synopsis: '[-o json|yaml] IMAGE…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: documentOption,
  examples: [['spawnlet image inspect nginx:1.27', 'its layers and its config']],
  async run({ options, arguments: names }, context) {
    const images = await Promise.all(names.map(name => stored(context, name)));
    const documents = images.map(({ image }) => ({
      ...rowOf(image),
      layers: image.layers,
      config: JSON.parse(image.configBytes.toString()) as unknown,
    }));
    await print(documents, options.output);
    return 0;
  },
});

/** What went, a line each, as podman tells it. */
function tellRemoved(context: Context): void {
  context.listeners.removed = removed => {
    for (const name of removed.names) process.stdout.write(`untagged ${name}\n`);
    for (const image of removed.images) process.stdout.write(`deleted ${image}\n`);
    if (removed.layers > 0)
      process.stdout.write(`freed ${bytes(removed.bytes)} in ${removed.layers} layers\n`);
  };
}

export const rm = defineCommand({
  name: 'image rm',
  group: 'Images',
  summary: 'Remove images',
  synopsis: '[FLAG…] IMAGE…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: dryRunOption,
  refused: {
    force: 'remove the containers first: spawnlet rm -f',
    f: 'remove the containers first: spawnlet rm -f',
  },
  examples: [['spawnlet image rm nginx:1.27', 'its layers too, where no other image has them']],
  async run({ options, arguments: names }, context) {
    const images: string[] = [];
    for (const name of names) images.push((await stored(context, name)).name);
    tellRemoved(context);
    await apply(context, `image rm ${images.join(' ')}`, { do: 'remove-image', images }, options['dry-run']);
    return 0;
  },
});

export const prune = defineCommand({
  name: 'image prune',
  group: 'Images',
  summary: 'Remove what no image or container uses',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: {
    all: { type: 'boolean', short: 'a', help: 'also images with a name that no container runs from' },
    force: { type: 'boolean', short: 'f', help: 'as in podman; spawnlet never asks' },
    ...dryRunOption,
  },
  examples: [['spawnlet image prune -a', 'only what containers use stays']],
  async run({ options }, context) {
    tellRemoved(context);
    if (options['dry-run']) {
      const store = await context.store();
      const names = await store.prunable(options, () => context.inUse(), context.signal);
      process.stdout.write(names.map(name => `remove image ${name}\n`).join('') || 'nothing to do\n');
      return 0;
    }
    await apply(context, 'image prune', { do: 'prune-images', all: options.all }, options['dry-run']);
    return 0;
  },
});
