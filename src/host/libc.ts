/** Functions of the C library, for what Node has no call of its own. */
export interface Libc {
  /** By its prototype in C. */
  func(prototype: string): (...values: unknown[]) => number;
  /** What the last of them that failed has left in errno. */
  errno(): number;
}

let loaded: Promise<Libc> | undefined;

/** The C library of this host. To load what calls it takes 20 ms: who needs it asks when it has something else to wait for. */
export function loadLibc(): Promise<Libc> {
  loaded ??= (async () => {
    const { default: koffi } = await import('koffi');
    const library = koffi.load('libc.so.6');
    return { func: prototype => library.func(prototype), errno: () => koffi.errno() };
  })();
  return loaded;
}
