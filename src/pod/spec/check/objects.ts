import type { ConfigMap, PersistentVolumeClaim, Secret } from '../../api/kubernetes.ts';
import { checkClaim } from './claims.ts';
import { whyNoKey } from './names.ts';
import type { Place } from './place.ts';

const mostBytes = 1024 * 1024;

export function checkConfigMap({ data = {}, binaryData = {} }: ConfigMap, place: Place): void {
  for (const [name, values] of Object.entries({ data, binaryData }))
    for (const key of Object.keys(values)) place.at(name, key).wrong(whyNoKey(key));
  for (const key of Object.keys(data))
    if (Object.hasOwn(binaryData, key)) place.at('data', key).wrong('is in binaryData, too');
  const bytes = bytesOf(Object.values(data), 'utf8') + bytesOf(Object.values(binaryData), 'base64');
  if (bytes > mostBytes) place.wrong('has more than 1 MiB of data');
}

/** The keys that a Secret of a type has; of `basic-auth` one of them is enough. */
const secretTypes = new Map([
  ['kubernetes.io/dockercfg', ['.dockercfg']],
  ['kubernetes.io/dockerconfigjson', ['.dockerconfigjson']],
  ['kubernetes.io/ssh-auth', ['ssh-privatekey']],
  ['kubernetes.io/tls', ['tls.crt', 'tls.key']],
]);

export function checkSecret({ data = {}, stringData = {}, type = 'Opaque' }: Secret, place: Place): void {
  for (const [name, values] of Object.entries({ data, stringData }))
    for (const key of Object.keys(values)) place.at(name, key).wrong(whyNoKey(key));
  const bytes = bytesOf(Object.values(data), 'base64') + bytesOf(Object.values(stringData), 'utf8');
  if (bytes > mostBytes) place.wrong('has more than 1 MiB of data');
  const has = (key: string) => Object.hasOwn(data, key) || Object.hasOwn(stringData, key);
  for (const key of secretTypes.get(type) ?? [])
    if (!has(key)) place.at('data', key).wrong(`is missing, for type: ${type}`);
  if (type === 'kubernetes.io/basic-auth' && !has('username') && !has('password'))
    place.at('data', 'username').wrong(`is missing, or password, for type: ${type}`);
  if (type === 'kubernetes.io/service-account-token')
    place.at('type').wrong('does not take a token: an API server issues it');
  const [json = ''] = type.startsWith('kubernetes.io/dockerc') ? (secretTypes.get(type) ?? []) : [];
  if (json !== '' && has(json)) {
    const text = stringData[json] ?? Buffer.from(data[json] ?? '', 'base64').toString();
    if (!isObject(text))
      place.at(Object.hasOwn(stringData, json) ? 'stringData' : 'data', json).wrong('is no JSON');
  }
}

export function checkPersistentVolumeClaim({ spec }: PersistentVolumeClaim, place: Place): void {
  if (spec) checkClaim(spec, place.at('spec'));
  else place.at('spec').wrong('is missing');
}

const bytesOf = (texts: readonly string[], encoding: 'utf8' | 'base64') =>
  texts.reduce((sum, text) => sum + Buffer.byteLength(text, encoding), 0);

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
