/** SHA-256 of a text. node:crypto takes 16 ms to load, so it is loaded when there is something to digest. */
export const sha256 = (text: string): Buffer =>
  process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest();
