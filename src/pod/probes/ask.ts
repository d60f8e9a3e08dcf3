import type { Clock } from '../../host/clock.ts';
import type { Probe } from '../api/kubernetes.ts';
import { goDuration } from '../status/time.ts';
import { type Answer, failure } from './answer.ts';
import { askExec, type ExecInContainer } from './exec.ts';
import { askGrpc } from './grpc.ts';
import type { Handler } from './handler.ts';
import { askHttp } from './http.ts';
import { limited, timedOut } from './limit.ts';
import { askTcp } from './tcp.ts';

/** What probes and hooks are carried out with. */
export interface ProbeTools {
  readonly clock: Clock;
  readonly exec: ExecInContainer;
}

/** How often somebody is asked who could not be. */
const tries = 3;
const second = 1000;

async function ask(handler: Handler, tools: ProbeTools, signal: AbortSignal): Promise<Answer> {
  switch (handler.kind) {
    case 'exec':
      return askExec(handler, tools.exec, signal);
    case 'httpGet':
      return askHttp(handler, signal);
    case 'tcpSocket':
      return askTcp(handler, signal);
    case 'grpc':
      return askGrpc(handler, signal);
    case 'sleep':
      return { kind: 'error', output: 'a probe cannot sleep' };
    case 'invalid':
      return { kind: 'error', output: handler.message };
  }
}

/**
 * Asks once, within the probe's timeout; no answer in time is a failure.
 *
 * @throws the reason of the signal, nothing else
 */
export async function askProbe(
  handler: Handler,
  probe: Pick<Probe, 'timeoutSeconds'>,
  tools: ProbeTools,
  signal: AbortSignal,
): Promise<Answer> {
  const timeout = (probe.timeoutSeconds || 1) * second;
  for (let left = tries - 1; ; left--) {
    const answer = await limited(tools.clock, timeout, own => ask(handler, tools, own), signal);
    if (answer === timedOut) return failure(`no answer within ${goDuration(timeout)} (timeout)`);
    if (answer.kind !== 'error' || left === 0) return answer;
  }
}
