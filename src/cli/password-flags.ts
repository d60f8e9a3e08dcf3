/** Spellings of a password that every user of the host would see in a list of processes. */
export const refusedPasswords: Readonly<Record<string, string>> = {
  'password-hash': '--password-hash-stdin: a command line can be seen by every user',
};
