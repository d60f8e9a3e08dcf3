import type { Files } from '../host/files.ts';
import { parseUnit } from '../systemd/unit-file.ts';
import type { KeptLine } from './lines.ts';
import { placesOf } from './places.ts';

const mark = '# Not made by spawnlet';

/** Lines of a machine's settings that `adopt` has left alone: in each section those behind the comment that says so. */
export async function keptLines(files: Files, name: string): Promise<KeptLine[]> {
  const { sections } = parseUnit((await files.read(placesOf(name).settings)) ?? '');
  return sections.flatMap(({ name: section, lines }) => {
    const begin = lines.findIndex(line => line.kind === 'other' && line.text.startsWith(mark));
    if (begin < 0) return [];
    return lines
      .slice(begin)
      .flatMap(line => (line.kind === 'assignment' ? [{ section, key: line.key, value: line.value }] : []));
  });
}
