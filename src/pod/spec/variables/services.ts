import type { Service } from '../../api/kubernetes.ts';

/**
 * The variables that tell a pod of services: those of its namespace if it wants them, and always the API server's. Services
 * without an address of their own are passed over.
 */
export function serviceVariables(
  services: readonly Service[],
  namespace: string,
  wanted: boolean,
): ReadonlyMap<string, string> {
  const chosen = new Map<string, Service>();
  for (const service of services) {
    const { name = '', namespace: own } = service.metadata ?? {};
    const { clusterIP = '' } = service.spec ?? {};
    if (clusterIP === '' || clusterIP === 'None') continue;
    const isMaster = own === 'default' && name === 'kubernetes';
    if (isMaster ? !chosen.has(name) : own === namespace && wanted) chosen.set(name, service);
  }
  return new Map([...chosen.values()].flatMap(variablesOf));
}

const variableName = (text: string) => text.replaceAll('-', '_').toUpperCase();

function variablesOf({ metadata, spec }: Service): [string, string][] {
  const name = variableName(metadata?.name ?? '');
  const { clusterIP: address = '', ports = [] } = spec ?? {};
  const host = address.includes(':') ? `[${address}]` : address;
  const variables: [string, string][] = [[`${name}_SERVICE_HOST`, address]];
  for (const [index, { port, name: portName = '', protocol = 'TCP' }] of ports.entries()) {
    const scheme = protocol.toLowerCase();
    const url = `${scheme}://${host}:${port}`;
    const prefix = `${name}_PORT_${port}_${protocol.toUpperCase()}`;
    if (index === 0) variables.push([`${name}_SERVICE_PORT`, String(port)], [`${name}_PORT`, url]);
    if (portName !== '') variables.push([`${name}_SERVICE_PORT_${variableName(portName)}`, String(port)]);
    variables.push(
      [prefix, url],
      [`${prefix}_PROTO`, scheme],
      [`${prefix}_PORT`, String(port)],
      [`${prefix}_ADDR`, address],
    );
  }
  return variables;
}
