import type { Container, Lifecycle, LifecycleHandler, Probe } from '../../api/kubernetes.ts';
import { whyNoHeader, whyNoPort, whyNoPortReference, whyNotWithin } from './names.ts';
import { eachAt, type Place } from './place.ts';

/** What a container's probes and hooks need to know of its pod. */
export interface PodOfProbes {
  readonly gracePeriod: number;
  /** `spec.os.name`; signals have names only if it is said whose they are. */
  readonly os: string | undefined;
}

/** The probes and hooks of a container that stays. */
export function checkLifecycle(container: Container, pod: PodOfProbes, place: Place): void {
  const { lifecycle, livenessProbe, readinessProbe, startupProbe } = container;
  if (lifecycle) checkHooks(lifecycle, pod, place.at('lifecycle'));
  for (const [name, probe] of Object.entries({ livenessProbe, startupProbe })) {
    if (probe === undefined) continue;
    checkProbe(probe, place.at(name));
    if ((probe.successThreshold ?? 1) !== 1)
      place.at(name, 'successThreshold').wrong('is 1 for livenessProbe and startupProbe');
  }
  if (readinessProbe === undefined) return;
  const at = place.at('readinessProbe');
  checkProbe(readinessProbe, at);
  if (readinessProbe.terminationGracePeriodSeconds !== undefined)
    at.at('terminationGracePeriodSeconds').wrong('is not for readinessProbe, which ends nothing');
}

/** That an init container, which has ended before others start, has none. */
export function checkNoLifecycle(container: Container, place: Place): void {
  for (const name of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    if (container[name])
      place.at(name).wrong('is not for init containers, unless their restartPolicy is Always');
  }
}

const numbers = [
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
] as const;

function checkProbe(probe: Probe, place: Place): void {
  const { exec, httpGet, tcpSocket, grpc } = probe;
  checkHandler({ exec, httpGet, tcpSocket, grpc }, place);
  for (const name of numbers) place.at(name).wrong(whyNotWithin(probe[name] ?? 0, 0, 2 ** 31 - 1));
  const grace = probe.terminationGracePeriodSeconds;
  if (grace !== undefined) place.at('terminationGracePeriodSeconds').wrong(whyNotWithin(grace, 1, Infinity));
}

type Handlers = {
  readonly [K in keyof Probe | keyof LifecycleHandler]?: (Probe & LifecycleHandler)[K] | undefined;
};

/** One way to ask, and one that can be. */
function checkHandler(handlers: Handlers, place: Place): void {
  const { exec, httpGet, tcpSocket, grpc } = handlers;
  const known = Object.keys(handlers);
  if (Object.values(handlers).filter(Boolean).length !== 1) place.wrong(`takes one of ${known.join(', ')}`);
  if (exec && (exec.command ?? []).length === 0) place.at('exec', 'command').wrong('is missing');
  if (httpGet) {
    place.at('httpGet', 'port').wrong(whyNoPortReference(httpGet.port));
    for (const [header, at] of eachAt(httpGet.httpHeaders, place.at('httpGet', 'httpHeaders')))
      at.at('name').wrong(whyNoHeader(header.name));
  }
  if (tcpSocket) place.at('tcpSocket', 'port').wrong(whyNoPortReference(tcpSocket.port));
  if (grpc) place.at('grpc', 'port').wrong(whyNoPort(grpc.port));
}

const signals = new RegExp(
  `^SIG(?:${[
    'ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP',
    'TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN|RTMIN\\+(?:[1-9]|1[0-5])|RTMAX|RTMAX-(?:[1-9]|1[0-4])',
  ].join('|')})$`,
);

function checkHooks({ postStart, preStop, stopSignal }: Lifecycle, pod: PodOfProbes, place: Place): void {
  for (const [name, hook] of Object.entries({ postStart, preStop })) {
    if (hook === undefined) continue;
    const { exec, httpGet, tcpSocket, sleep } = hook;
    const at = place.at(name);
    checkHandler({ exec, httpGet, tcpSocket, sleep }, at);
    if (sleep && !(sleep.seconds >= 0 && sleep.seconds <= pod.gracePeriod))
      at.at('sleep', 'seconds').wrong(
        `is from 0 to terminationGracePeriodSeconds, which is ${pod.gracePeriod}`,
      );
  }
  if (stopSignal === undefined) return;
  if (pod.os === undefined) place.at('stopSignal').wrong('needs spec.os.name: linux');
  else if (!signals.test(stopSignal))
    place.at('stopSignal').wrong(`does not take '${stopSignal}': a signal such as SIGTERM or SIGRTMIN+3`);
}
