/** Functions of a library of C, for what Node has no call of its own. */
export interface Library {
  /** By its prototype in C. */
  func(prototype: string): (...values: unknown[]) => number;
  /** Names a structure, for prototypes: its fields' types, in their order. */
  struct(name: string, fields: Readonly<Record<string, string>>): void;
  /** What the last of them that failed has left in errno. */
  errno(): number;
}

const loaded = new Map<string, Promise<Library>>();

/** A library of this host. To load what calls it takes 20 ms: who needs it asks when it has something else to wait for. */
export function loadLibrary(file: string): Promise<Library> {
  const known = loaded.get(file);
  if (known) return known;
  const loading = (async () => {
    const { default: koffi } = await import('koffi');
    const library = koffi.load(file);
    return {
      func: (prototype: string) => library.func(prototype),
      struct: (name: string, fields: Readonly<Record<string, string>>) => void koffi.struct(name, fields),
      errno: () => koffi.errno(),
    };
  })();
  loaded.set(file, loading);
  return loading;
}

/** The C library. */
export const loadLibc = (): Promise<Library> => loadLibrary('libc.so.6');
