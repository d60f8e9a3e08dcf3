import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly key: string;
  readonly certificate: string;
}

/** A certificate for 127.0.0.1 that nobody signed but itself, valid for a day. */
export function makeCertificate(directory: string): CertificateFiles {
  const files = { key: join(directory, 'key.pem'), certificate: join(directory, 'cert.pem') };
  execFileSync(
    'openssl',
    [
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1'.split(' '),
      ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1'],
      ['-keyout', files.key, '-out', files.certificate],
    ].flat(),
    { stdio: 'ignore' },
  );
  return files;
}
