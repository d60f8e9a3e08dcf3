import type { Mount } from '../../engine/container.ts';
import type { HostStep } from '../../host/step.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';
import { containerDirectory, directoryOf, type PodIdentity } from '../unit/names.ts';
import type { Node } from './dependencies.ts';

/** The files that give a pod's containers names: hosts, resolv.conf, hostname; and where one leaves its last words. */

const file = (path: string, content: string, mode = 0o644): HostStep => ({
  do: 'write-file',
  path,
  content,
  mode,
});

/** DNS labels end at 63 bytes. */
const maxLabel = 63;

function shortName({ spec }: Pod, identity: PodIdentity, node: Node): string {
  if (spec?.hostnameOverride) return spec.hostnameOverride;
  if (spec?.hostNetwork && !spec.hostname) return node.name;
  return (spec?.hostname ?? identity.name).slice(0, maxLabel).replace(/[-.]+$/, '');
}

/** The pod's hostname, as the kubelet finds it. */
export function hostnameOf(pod: Pod, identity: PodIdentity, node: Node): string {
  const short = shortName(pod, identity, node);
  return pod.spec?.setHostnameAsFQDN ? (fqdnOf(pod, identity, node, short) ?? short) : short;
}

function fqdnOf(pod: Pod, { namespace }: PodIdentity, { dns }: Node, short: string): string | undefined {
  const subdomain = pod.spec?.subdomain;
  if (!subdomain) return undefined;
  return `${short}.${subdomain}.${namespace}.svc.${dns.domain}`;
}

/** The text of /etc/hosts: the host's own for a pod on its network, and what the pod adds. */
export function hostsText(
  pod: Pod,
  identity: PodIdentity,
  node: Node,
  ips: readonly string[],
  ofHost: string,
): string {
  const short = shortName(pod, identity, node);
  const full = fqdnOf(pod, identity, node, short);
  const own = ips.map(ip => `${ip}\t${full ? `${full}\t` : ''}${short}`);
  const begin = pod.spec?.hostNetwork
    ? [ofHost.trimEnd()]
    : ['127.0.0.1\tlocalhost', '::1\tlocalhost ip6-localhost ip6-loopback', ...own];
  const aliases = (pod.spec?.hostAliases ?? []).map(({ ip, hostnames = [] }) =>
    [ip, ...hostnames].join('\t'),
  );
  return `${[...begin, ...(aliases.length > 0 ? ['', '# hostAliases of the pod', ...aliases] : [])].join('\n')}\n`;
}

/** What DNS takes: bytes of a name and of each label. */
const isName = (name: string) =>
  name.length <= 253 && name.split('.').every(label => label.length <= maxLabel);

/**
 * Names by which other pods of this host find a pod, in the form of hosts(5). By its own name as they would find a service of it: by
 * `web` in its namespace, by `web.shop` in others. By hostname and subdomain as a headless service has them, and all pods of
 * a subdomain by that. By the addresses as Kubernetes has it.
 */
export function knownAsText(pod: Pod, identity: PodIdentity, node: Node, ips: readonly string[]): string {
  const { name, namespace } = identity;
  const { domain } = node.dns;
  const subdomain = pod.spec?.subdomain;
  const full = fqdnOf(pod, identity, node, shortName(pod, identity, node));
  const names = [
    `${name}.${namespace}.pod.${domain}`,
    `${name}.${namespace}.pod`,
    `${name}.${namespace}.svc.${domain}`,
    ...(full ? [full, `${subdomain}.${namespace}.svc.${domain}`] : []),
  ];
  const lines = ips.map(ip =>
    [ip, ...new Set(names), `${ip.replaceAll(/[.:]/g, '-')}.${namespace}.pod.${domain}`].filter(isName),
  );
  return lines.map(line => `${line.join(' ')}\n`).join('');
}

const knownAsFile = (directory: string, uid: string) => `${directory}/${uid}`;

/** Tells the name server of pods; it sees the file come. */
export const knownAsSteps = ({ uid }: PodIdentity, { names }: Node, text: string): HostStep[] =>
  names === undefined ? [] : [file(knownAsFile(names, uid), text)];

export const knownAsRemoval = (uid: string, { names }: Node): HostStep[] =>
  names === undefined ? [] : [{ do: 'remove', path: knownAsFile(names, uid) }];

const words = (text: string, key: string): string[] =>
  text
    .split('\n')
    .filter(line => line.startsWith(`${key} `) || line.startsWith(`${key}\t`))
    .flatMap(line => line.split(/\s+/).slice(1).filter(Boolean));

/** The text of /etc/resolv.conf by dnsPolicy and dnsConfig. @param ofHost the host's, with servers that can be reached */
export function resolvText(pod: Pod, { namespace }: PodIdentity, { dns }: Node, ofHost: string): string {
  const { dnsPolicy = 'ClusterFirst', dnsConfig = {}, hostNetwork = false } = pod.spec ?? {};
  const isCluster =
    dns.servers.length > 0 &&
    (dnsPolicy === 'ClusterFirstWithHostNet' || (dnsPolicy === 'ClusterFirst' && !hostNetwork));
  const isNone = dnsPolicy === 'None';
  const host = isNone
    ? { servers: [], searches: [], options: [] }
    : {
        servers: words(ofHost, 'nameserver'),
        searches: words(ofHost, 'search').slice(),
        options: words(ofHost, 'options'),
      };
  const servers = isCluster ? dns.servers : host.servers;
  const searches = isCluster
    ? [`${namespace}.svc.${dns.domain}`, `svc.${dns.domain}`, dns.domain, ...host.searches]
    : host.searches;
  const options = isCluster ? ['ndots:5'] : host.options;
  const own = (dnsConfig.options ?? []).map(({ name, value }) =>
    value === undefined ? (name ?? '') : `${name}:${value}`,
  );
  const names = new Set(own.map(option => option.split(':', 1)[0]));
  const all = [...options.filter(option => !names.has(option.split(':', 1)[0])), ...own].filter(Boolean);
  const lines = [
    ...[...new Set([...servers, ...(dnsConfig.nameservers ?? [])])].slice(0, 3).map(ip => `nameserver ${ip}`),
    ...line('search', [...new Set([...searches, ...(dnsConfig.searches ?? [])])]),
    ...line('options', all),
  ];
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

const line = (key: string, values: readonly string[]) =>
  values.length === 0 ? [] : [`${key} ${values.join(' ')}`];

const nameFile = (uid: string, name: string) => `${directoryOf(uid)}/etc/${name}`;

/** Writes them; hosts changes with the pod's addresses. */
export function nameSteps(
  identity: PodIdentity,
  texts: { readonly hosts: string; readonly resolv: string; readonly hostname: string },
): HostStep[] {
  const { uid } = identity;
  return [
    { do: 'make-directory', path: `${directoryOf(uid)}/etc`, mode: 0o755 },
    file(nameFile(uid, 'hosts'), texts.hosts),
    file(nameFile(uid, 'resolv.conf'), texts.resolv),
    file(nameFile(uid, 'hostname'), `${texts.hostname}\n`),
  ];
}

const bind = (source: string, target: string): Mount => ({
  kind: 'bind',
  source,
  target,
  readOnly: false,
  propagation: 'rprivate',
});

export const messagePath = (uid: string, container: string): string =>
  `${containerDirectory(uid, container)}/termination-log`;

const messageFile = (container: Container | EphemeralContainer): string =>
  container.terminationMessagePath ?? '/dev/termination-log';

/** What is bound over a container's own; a volume of the pod's at the same place goes first. */
export function nameMounts({ uid }: PodIdentity, container: Container | EphemeralContainer): Mount[] {
  const taken = (container.volumeMounts ?? []).map(({ mountPath }) => mountPath.replace(/\/+$/, ''));
  return [
    ...['hosts', 'resolv.conf', 'hostname']
      .filter(name => !taken.includes(`/etc/${name}`) && !taken.includes('/etc'))
      .map(name => bind(nameFile(uid, name), `/etc/${name}`)),
    bind(messagePath(uid, container.name), messageFile(container)),
  ];
}

/** The same for a program of the host, which has the host's files, and others only where the pod asks for them. */
export function hostNameMounts(
  { spec = { containers: [] } }: Pod,
  identity: PodIdentity,
  container: Container | EphemeralContainer,
): Mount[] {
  const wanted = [
    ...((spec.hostAliases ?? []).length > 0 ? ['/etc/hosts'] : []),
    ...(spec.dnsPolicy === 'None' || spec.dnsConfig ? ['/etc/resolv.conf'] : []),
    messageFile(container),
  ];
  return nameMounts(identity, container).filter(({ target }) => wanted.includes(target));
}
