import type { Container, ContainerPort, ContainerResizePolicy, PodSpec } from '../../api/kubernetes.ts';
import { isSidecar } from '../resources.ts';
import { checkAmounts } from './amounts.ts';
import { checkMounts } from './mounts.ts';
import { whyNoAddress, whyNoLabel, whyNoPort, whyNoPortName } from './names.ts';
import { eachAt, noneTwice, type Place } from './place.ts';
import { checkLifecycle, checkNoLifecycle } from './probes.ts';
import { checkSecurity } from './security.ts';
import { checkVariables } from './variables.ts';

/** All containers of a pod, and what must be only once among them. */
export function checkContainers(spec: PodSpec, place: Place): void {
  const { containers, initContainers = [] } = spec;
  if (containers.length === 0) place.at('containers').wrong('is missing: a pod has at least one');
  const pod = { gracePeriod: spec.terminationGracePeriodSeconds ?? 30, os: spec.os?.name };
  const lists = { containers, initContainers };
  for (const [name, list] of Object.entries(lists)) {
    for (const [container, at] of eachAt(list, place.at(name))) {
      checkContainer(container, spec, at);
      if (name === 'containers' || isSidecar(container)) checkLifecycle(container, pod, at);
      else {
        checkNoLifecycle(container, at);
        checkNoRestart(container.resizePolicy, at.at('resizePolicy'));
      }
      // Init containers run one after another, and may have the same ports.
      if (name === 'initContainers') noneTwice(hostPorts(container, at));
    }
  }
  noneTwice(
    [...eachAt(containers, place.at('containers'))].flatMap(([container, at]) => hostPorts(container, at)),
  );
  const all = Object.entries(lists).flatMap(([name, list]) => [...eachAt(list, place.at(name))]);
  noneTwice(all.map(([{ name }, at]) => [name, at.at('name')]));
  if ((spec.ephemeralContainers ?? []).length > 0)
    place.at('ephemeralContainers').wrong('may only be added to a pod that runs');
}

function checkContainer(container: Container, spec: PodSpec, place: Place): void {
  const { name, image = '', ports, restartPolicy, restartPolicyRules = [] } = container;
  place.at('name').wrong(whyNoLabel(name));
  if (image === '') place.at('image').wrong('is missing');
  else if (image !== image.trim()) place.at('image').wrong('has spaces around it');
  for (const [port, at] of eachAt(ports, place.at('ports'))) checkPort(port, spec.hostNetwork === true, at);
  noneTwice([...eachAt(ports, place.at('ports'))].map(([port, at]) => [port.name ?? '', at.at('name')]));
  checkVariables(container, place);
  checkMounts(container, spec.volumes ?? [], place);
  checkAmounts(container.resources, place.at('resources'));
  checkResize(container.resizePolicy, spec.restartPolicy, place.at('resizePolicy'));
  if (container.securityContext) checkSecurity(container.securityContext, spec, place.at('securityContext'));
  if (restartPolicyRules.length > 0 && restartPolicy === undefined)
    place.at('restartPolicy').wrong('is missing, and is needed with restartPolicyRules');
  if (restartPolicyRules.length > 20) place.at('restartPolicyRules').wrong('has more than 20 rules');
  for (const [{ exitCodes }, at] of eachAt(restartPolicyRules, place.at('restartPolicyRules'))) {
    if (exitCodes === undefined) at.at('exitCodes').wrong('is missing');
    else if ((exitCodes.values ?? []).length > 255)
      at.at('exitCodes', 'values').wrong('has more than 255 codes');
  }
}

function checkPort(port: ContainerPort, hostNetwork: boolean, place: Place): void {
  const { name = '', containerPort, hostPort = 0, hostIP = '' } = port;
  if (name !== '') place.at('name').wrong(whyNoPortName(name));
  place.at('containerPort').wrong(whyNoPort(containerPort));
  if (hostPort !== 0) place.at('hostPort').wrong(whyNoPort(hostPort));
  if (hostIP !== '') place.at('hostIP').wrong(whyNoAddress(hostIP));
  if (hostNetwork && hostPort !== containerPort)
    place.at('hostPort').wrong('is the containerPort with hostNetwork: true');
}

function hostPorts(container: Container, place: Place): (readonly [string, Place])[] {
  return [...eachAt(container.ports, place.at('ports'))].flatMap(([port, at]) => {
    const { hostPort = 0, hostIP = '', protocol = 'TCP' } = port;
    return hostPort === 0
      ? []
      : [[`${hostIP === '' ? '' : `${hostIP}:`}${hostPort}/${protocol}`, at.at('hostPort')]];
  });
}

function checkResize(
  policies: readonly ContainerResizePolicy[] | undefined,
  restart: string | undefined,
  place: Place,
) {
  noneTwice(
    [...eachAt(policies, place)].map(([{ resourceName }, at]) => [resourceName, at.at('resourceName')]),
  );
  for (const [{ resourceName, restartPolicy }, at] of eachAt(policies, place)) {
    if (resourceName === '') at.at('resourceName').wrong('is missing');
    if (restartPolicy === '') at.at('restartPolicy').wrong('is missing');
    if (restart === 'Never' && restartPolicy === 'RestartContainer')
      at.at('restartPolicy').wrong('is NotRequired where the restartPolicy of the pod is Never');
  }
}

function checkNoRestart(policies: readonly ContainerResizePolicy[] | undefined, place: Place): void {
  for (const [{ restartPolicy }, at] of eachAt(policies, place))
    if (restartPolicy === 'RestartContainer')
      at.at('restartPolicy').wrong(
        'is NotRequired for init containers, unless their restartPolicy is Always',
      );
}
