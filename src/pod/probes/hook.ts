import { messageOf } from '../../host/error.ts';
import { goDuration } from '../status/time.ts';
import { kept } from './answer.ts';
import type { ProbeTools } from './ask.ts';
import type { ExecHandler, Handler, HttpHandler } from './handler.ts';
import { getOverHttp } from './http.ts';
import { limited, timedOut } from './limit.ts';
import { askTcp } from './tcp.ts';

/** How a hook ended. A failed postStart ends the container; a failed preStop is told, and the stop goes on. */
export type HookEnd = { readonly kind: 'done' } | { readonly kind: 'failed'; readonly message: string };

const done: HookEnd = { kind: 'done' };
const failed = (message: string): HookEnd => ({ kind: 'failed', message });

const second = 1000;

async function execHook({ command }: ExecHandler, tools: ProbeTools, signal: AbortSignal): Promise<HookEnd> {
  const { exitCode, output } = await tools.exec(command, signal);
  if (exitCode === 0) return done;
  return failed(`command ended with ${exitCode}: ${JSON.stringify(kept(output))}`);
}

/** OpenSSL's words for a server that answers in plain text; the code is that of the system's call. */
const speaksPlain = (error: unknown): boolean =>
  /wrong version number|packet length too long|unknown protocol|http request/i.test(messageOf(error));

/** Any answer will do, whatever its status; a server that was to speak TLS and does not is asked in plain text. */
async function httpHook(handler: HttpHandler, signal: AbortSignal): Promise<HookEnd> {
  try {
    await getOverHttp(handler, 'lifecycle', signal);
  } catch (error) {
    if (handler.scheme !== 'https' || !speaksPlain(error)) throw error;
    const headers = handler.headers.filter(([name]) => name.toLowerCase() !== 'authorization');
    await getOverHttp({ ...handler, scheme: 'http', headers }, 'lifecycle', signal);
  }
  return done;
}

async function carryOut(handler: Handler, tools: ProbeTools, signal: AbortSignal): Promise<HookEnd> {
  switch (handler.kind) {
    case 'exec':
      return execHook(handler, tools, signal);
    case 'httpGet':
      return httpHook(handler, signal);
    case 'tcpSocket': {
      const { kind, output } = await askTcp(handler, signal);
      return kind === 'success' ? done : failed(output);
    }
    case 'sleep':
      await tools.clock.sleep(handler.seconds * second, signal);
      return done;
    case 'grpc':
      return failed('a hook cannot ask over gRPC');
    case 'invalid':
      return failed(handler.message);
  }
}

const titles: Record<Handler['kind'], string> = {
  exec: 'Exec',
  httpGet: 'HTTP',
  tcpSocket: 'TCP',
  sleep: 'Sleep',
  grpc: 'gRPC',
  invalid: 'Invalid',
};

/**
 * Runs a postStart or preStop hook to its end.
 *
 * @param ms how long it may take: what is left of the grace period; a postStart hook may take for ever
 * @throws the reason of the signal, nothing else
 */
export async function runHook(
  handler: Handler,
  tools: ProbeTools,
  ms: number | undefined,
  signal: AbortSignal,
): Promise<HookEnd> {
  const told = (message: string) => failed(`${titles[handler.kind]} lifecycle hook failed: ${message}`);
  try {
    const end =
      ms === undefined
        ? await carryOut(handler, tools, signal)
        : await limited(tools.clock, ms, own => carryOut(handler, tools, own), signal);
    if (end === timedOut) return told(`it was not done within ${goDuration(ms ?? 0)}`);
    return end.kind === 'failed' ? told(end.message) : end;
  } catch (error) {
    signal.throwIfAborted();
    return told(messageOf(error));
  }
}
