/** What the API server writes into a pod where its author wrote nothing; a pod that came from one is not changed by it. */
import type {
  Container,
  EnvVar,
  EphemeralContainer,
  HTTPGetAction,
  Lifecycle,
  LifecycleHandler,
  Pod,
  PodSpec,
  Probe,
  ResourceRequirements,
} from '../api/kubernetes.ts';
import { pullPolicyOf } from './defaults/pull-policy.ts';
import { defaultReferences, defaultVolume } from './defaults/volumes.ts';
import { withField } from './defaults/with-field.ts';
import { formatQuantity, quantityOf } from './quantity.ts';
import { containerResources, isOfPods, isOvercommitted, writtenOf } from './resources.ts';

/** A pod with all that Kubernetes decides for it. */
export function defaultPod(pod: Pod): Pod {
  const { spec } = pod;
  if (spec === undefined) return pod;
  const containers = spec.containers.map(each => defaultRequests(defaultContainer(each)));
  const initContainers = spec.initContainers?.map(each => defaultRequests(defaultContainer(each)));
  const defaulted: PodSpec = {
    ...spec,
    containers: spec.hostNetwork === true ? containers.map(withHostPorts) : containers,
    ...(initContainers && {
      initContainers: spec.hostNetwork === true ? initContainers.map(withHostPorts) : initContainers,
    }),
    ...(spec.ephemeralContainers && {
      ephemeralContainers: spec.ephemeralContainers.map(each => defaultContainer<EphemeralContainer>(each)),
    }),
    ...(spec.volumes && { volumes: spec.volumes.map(defaultVolume) }),
    ...(spec.overhead && { overhead: rounded(spec.overhead) }),
    ...accountOf(spec),
    restartPolicy: spec.restartPolicy ?? 'Always',
    terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
    dnsPolicy: spec.dnsPolicy ?? 'ClusterFirst',
    securityContext: spec.securityContext ?? {},
    schedulerName: spec.schedulerName ?? 'default-scheduler',
    enableServiceLinks: spec.enableServiceLinks ?? true,
  };
  return { ...pod, spec: defaultPodResources(defaulted) };
}

/** The older of the two names of one field is kept beside the newer one. */
function accountOf({ serviceAccount, serviceAccountName }: PodSpec) {
  const name = serviceAccountName ?? serviceAccount;
  return name === undefined ? {} : { serviceAccountName: name, serviceAccount: name };
}

function defaultContainer<T extends Container | EphemeralContainer>(container: T): T {
  const named = {
    ...container,
    terminationMessagePath: container.terminationMessagePath ?? '/dev/termination-log',
    terminationMessagePolicy: container.terminationMessagePolicy ?? 'File',
    imagePullPolicy: container.imagePullPolicy ?? pullPolicyOf(container.image ?? ''),
  };
  const probed = (['livenessProbe', 'readinessProbe', 'startupProbe'] as const).reduce(
    (each, name) => withField(each, name, defaultProbe),
    withField(named, 'lifecycle', defaultLifecycle),
  );
  const ported = withField(probed, 'ports', ports =>
    ports.map(port => ({ ...port, protocol: port.protocol ?? 'TCP' })),
  );
  const spoken = withField(ported, 'env', env => env.map(defaultVariable));
  return withField(spoken, 'resources', roundedResources);
}

const defaultVariable = (variable: EnvVar): EnvVar => withField(variable, 'valueFrom', defaultReferences);

const withHostPorts = (container: Container): Container =>
  withField(container, 'ports', ports =>
    ports.map(port => ({ ...port, hostPort: port.hostPort || port.containerPort })),
  );

const defaultProbe = (probe: Probe): Probe => ({
  ...withField(withField(probe, 'httpGet', defaultHttpGet), 'grpc', grpc => ({
    ...grpc,
    service: grpc.service ?? '',
  })),
  // A zero is as nothing to Kubernetes.
  timeoutSeconds: probe.timeoutSeconds || 1,
  periodSeconds: probe.periodSeconds || 10,
  successThreshold: probe.successThreshold || 1,
  failureThreshold: probe.failureThreshold || 3,
});

const defaultHttpGet = (get: HTTPGetAction): HTTPGetAction => ({
  ...get,
  path: get.path || '/',
  scheme: get.scheme ?? 'HTTP',
});

const defaultHandler = (handler: LifecycleHandler) => withField(handler, 'httpGet', defaultHttpGet);

const defaultLifecycle = (lifecycle: Lifecycle): Lifecycle =>
  withField(withField(lifecycle, 'postStart', defaultHandler), 'preStop', defaultHandler);

/** Thousandths are the finest that the API keeps of what is asked for. */
function rounded(written: { readonly [name: string]: string }): { readonly [name: string]: string } {
  const thousandth = 1_000_000n;
  return Object.fromEntries(
    Object.entries(written).map(([name, text]) => {
      const quantity = quantityOf(text);
      const rest = quantity.nano % thousandth;
      const nano = rest > 0n ? quantity.nano + thousandth - rest : quantity.nano - rest;
      return [name, formatQuantity({ ...quantity, nano })];
    }),
  );
}

const roundedResources = (resources: ResourceRequirements): ResourceRequirements =>
  withField(withField(resources, 'limits', rounded), 'requests', rounded);

/** A limit is asked for as well, where nothing else is. */
const defaultRequests = (container: Container): Container =>
  withField(container, 'resources', resources =>
    resources.limits ? { ...resources, requests: { ...resources.limits, ...resources.requests } } : resources,
  );

/** What a pod as a whole says of its resources, with what follows of its containers'. */
function defaultPodResources(spec: PodSpec): PodSpec {
  return withField(spec, 'resources', resources => {
    const written = roundedResources(resources);
    const said = { ...written.limits, ...written.requests };
    const ofContainers = (kind: 'requests' | 'limits') =>
      Object.entries(writtenOf(containerResources({ spec }, kind))).filter(([name]) => isOfPods(name));
    const pages = ofContainers('limits').filter(
      ([name]) => name.startsWith('hugepages-') && !Object.hasOwn(said, name),
    );
    const limits = { ...(Object.keys(said).length > 0 && Object.fromEntries(pages)), ...written.limits };
    if (Object.keys(limits).length === 0) return written;
    const asked = ofContainers('requests').filter(([name]) => isOvercommitted(name));
    const requests = { ...limits, ...Object.fromEntries(asked), ...written.requests };
    return {
      ...written,
      limits,
      requests: Object.fromEntries(Object.entries(requests).filter(([name]) => isOfPods(name))),
    };
  });
}
