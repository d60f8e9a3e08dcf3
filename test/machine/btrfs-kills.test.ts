// runs in a lab: trixie +btrfs-progs
// Commands that are killed, about machines that are snapshots of a base. Those about overlays are killed in the other suite.
import { after, before, describe } from 'node:test';
import { useFileSystem } from '../harness/file-system.ts';
import { testKills } from './kills.ts';

let disk: AsyncDisposable;

before(async () => {
  disk = await useFileSystem('btrfs');
});

after(() => disk[Symbol.asyncDispose]());

describe('killed commands about snapshots', testKills);
