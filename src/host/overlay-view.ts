import { closeSync, constants, openSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { loadLibc } from './libc.ts';

/** Directories that lie over each other, as one tree to be read. */
export interface OverlayView extends Disposable {
  /** Good until it is disposed of, in this process. */
  readonly path: string;
}

/** O_PATH: a handle of whatever is there. The number is that of x86 and arm64. */
const pathOnly = 0o10000000;

/** Of fsopen(2), fsconfig(2) and fsmount(2). */
const closeOnExec = 1;
const [setString, create] = [1, 6];
const readOnly = 1;

/**
 * Puts an overlay together that nobody else sees: it is mounted nowhere, and gone with this process at the latest. All layers
 * are lower ones to it, so that nothing is written, not even into a work directory.
 *
 * @param layers directories, two or more, lowest first
 * @throws the system's error if the kernel does not take them
 */
export async function viewOverlay(layers: readonly string[]): Promise<OverlayView> {
  const libc = await loadLibc();
  const fsopen = libc.func('int fsopen(const char *, unsigned int)');
  const fsconfig = libc.func('int fsconfig(int, unsigned int, const char *, const char *, int)');
  const fsmount = libc.func('int fsmount(int, unsigned int, unsigned int)');
  const done = (call: string, result: number): number => {
    if (result >= 0) return result;
    const code = getSystemErrorName(-libc.errno());
    throw Object.assign(new Error(`${code}: ${call} of an overlay on ${layers.join(', ')}`), { code });
  };
  using opened = new DisposableStack();
  const hold = (handle: number) => {
    opened.defer(() => closeSync(handle));
    return handle;
  };
  // An option has 255 bytes at most, and a colon in a path would end it: handles have short names.
  const lower = layers
    .map(path => `/proc/self/fd/${hold(openSync(path, pathOnly | constants.O_DIRECTORY))}`)
    .toReversed();
  const context = hold(done('fsopen', fsopen('overlay', closeOnExec)));
  done('fsconfig', fsconfig(context, setString, 'lowerdir', lower.join(':'), 0));
  done('fsconfig', fsconfig(context, create, null, null, 0));
  const mount = done('fsmount', fsmount(context, closeOnExec, readOnly));
  return { path: `/proc/self/fd/${mount}`, [Symbol.dispose]: () => closeSync(mount) };
}
