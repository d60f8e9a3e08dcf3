// runs in a lab
// Commands that are killed, about machines that are overlays on a base. Those about snapshots are killed in the other suite.
import { after, before, describe } from 'node:test';
import { useFileSystem } from '../harness/file-system.ts';
import { testKills } from './kills.ts';

let disk: AsyncDisposable;

before(async () => {
  disk = await useFileSystem('tmpfs');
});

after(() => disk[Symbol.asyncDispose]());

describe('killed commands about overlays', testKills);
