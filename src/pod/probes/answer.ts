import { version } from '../api/kubernetes.ts';

/** What came of asking once. `warning` counts as success; `error`: nobody could be asked, which says nothing. */
export interface Answer {
  readonly kind: 'success' | 'warning' | 'failure' | 'error';
  readonly output: string;
}

export const success = (output: string): Answer => ({ kind: 'success', output });
export const failure = (output: string): Answer => ({ kind: 'failure', output });

/** Bytes of a body or of a command's output that are kept. */
export const mostOutput = 10 * 1024;

/** Cut to what is kept. */
export const kept = (output: Buffer): string => output.toString('utf8', 0, mostOutput);

const minor = version.split('.').slice(0, 2).join('.');

/** As which probes and hooks introduce themselves: servers know the kubelet's by it. */
export const userAgent = (purpose: 'probe' | 'lifecycle'): string => `kube-${purpose}/${minor}`;

/** host:port, with brackets around an IPv6 address. */
export const authority = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
