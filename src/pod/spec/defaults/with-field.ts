/** The object with a field changed, if it has the field. */
export function withField<T extends object, K extends keyof T>(
  object: T,
  name: K,
  change: (value: NonNullable<T[K]>) => NonNullable<T[K]>,
): T {
  const value = object[name];
  return value === undefined || value === null ? object : { ...object, [name]: change(value) };
}
