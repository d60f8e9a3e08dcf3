/** Places in an object, and the lines at which they were written. */
import type { Node } from '../../host/yaml.ts';

/** `['spec', 'containers', 0, 'image']` */
export type Path = readonly (string | number)[];

/** One thing that is wrong with an object, wherever the object came from. */
export interface Mistake {
  readonly path: Path;
  /** What is wrong, and what would be right. */
  readonly text: string;
}

/** `spec.containers[0].image`; keys of maps that are no plain words stand in brackets. */
export function pathText(path: Path): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number' || !/^[\w-]+$/.test(key)) text += `[${key}]`;
    else text += text === '' ? key : `.${key}`;
  }
  return text;
}

/** The line of a place, or of the nearest one around it that was written. */
export function lineOf(root: Node, path: Path): number {
  let node = root;
  for (const key of path) {
    const next = childOf(node, key);
    if (next === undefined) break;
    node = next;
  }
  return node.line;
}

function childOf(node: Node, key: string | number): Node | undefined {
  if (node.kind === 'map') return node.entries.get(String(key));
  return node.kind === 'list' && typeof key === 'number' ? node.items[key] : undefined;
}

/** True if a place is another, or in it. */
export const isWithin = (path: Path, other: Path) => other.every((key, index) => path[index] === key);
