import type { Container, HTTPGetAction, LifecycleHandler, Probe } from '../api/kubernetes.ts';

/** What a probe or a hook does, with all that it needs: hosts, ports by number, headers. */
export type Handler =
  | ExecHandler
  | HttpHandler
  | TcpHandler
  | GrpcHandler
  | { readonly kind: 'sleep'; readonly seconds: number }
  /** The spec does not say enough. */
  | { readonly kind: 'invalid'; readonly message: string };

export interface ExecHandler {
  readonly kind: 'exec';
  readonly command: readonly string[];
}

export interface HttpHandler {
  readonly kind: 'httpGet';
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** As the spec has it, query included. */
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export interface TcpHandler {
  readonly kind: 'tcpSocket';
  readonly host: string;
  readonly port: number;
}

export interface GrpcHandler {
  readonly kind: 'grpc';
  readonly host: string;
  readonly port: number;
  /** Empty for the server as a whole. */
  readonly service: string;
}

/** What probes and hooks have in common. */
export type Action = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'> & Pick<LifecycleHandler, 'sleep'>;

/** A number from 1 to 65535, or the message that says why it is none. */
function portOf(port: number | string, container: Pick<Container, 'ports'>): number | string {
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  // A number may be written as a text.
  const number = typeof port === 'number' ? port : (named ?? (/^\d+$/.test(port) ? Number(port) : undefined));
  if (number === undefined) return `port ${port} not found`;
  return number > 0 && number < 65_536 ? number : `invalid port number: ${number}`;
}

function httpHandler(action: HTTPGetAction, container: Pick<Container, 'ports'>, podIP: string): Handler {
  const port = portOf(action.port, container);
  if (typeof port === 'string') return { kind: 'invalid', message: port };
  return {
    kind: 'httpGet',
    scheme: action.scheme?.toLowerCase() === 'https' ? 'https' : 'http',
    host: action.host || podIP,
    port,
    path: action.path ?? '/',
    headers: (action.httpHeaders ?? []).map(({ name, value }) => [name, value] as const),
  };
}

/**
 * The handler of a probe or a hook.
 *
 * @param action commands with their variables expanded
 * @param container whose ports have names
 * @param podIP where it listens unless the action says otherwise
 */
export function handlerOf(action: Action, container: Pick<Container, 'ports'>, podIP: string): Handler {
  const { exec, httpGet, tcpSocket, grpc, sleep } = action;
  if (exec) return { kind: 'exec', command: exec.command ?? [] };
  if (httpGet) return httpHandler(httpGet, container, podIP);
  if (tcpSocket) {
    const port = portOf(tcpSocket.port, container);
    if (typeof port === 'string') return { kind: 'invalid', message: port };
    return { kind: 'tcpSocket', host: tcpSocket.host || podIP, port };
  }
  if (grpc) return { kind: 'grpc', host: podIP, port: grpc.port, service: grpc.service ?? '' };
  if (sleep) return { kind: 'sleep', seconds: sleep.seconds };
  return { kind: 'invalid', message: 'there is no handler' };
}
