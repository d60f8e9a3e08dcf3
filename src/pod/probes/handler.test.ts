import assert from 'node:assert/strict';
import { test } from 'node:test';
import { container } from '../status/fake-pod.ts';
import { type Action, type Handler, handlerOf } from './handler.ts';

const web = container('web', {
  ports: [
    { name: 'http', containerPort: 8080 },
    { name: '90', containerPort: 9090 },
  ],
});

test('a handler has its host, its port by number and its headers', () => {
  const common = { kind: 'httpGet', scheme: 'http', host: '10.88.0.5', port: 8080, path: '/', headers: [] };
  const table: [Action, Handler | object][] = [
    [{ exec: { command: ['true'] } }, { kind: 'exec', command: ['true'] }],
    [{ httpGet: { port: 8080 } }, common],
    [{ httpGet: { port: 'http' } }, common],
    [{ httpGet: { port: '8080' } }, common],
    // A name is a name, whatever it looks like.
    [{ httpGet: { port: '90' } }, { ...common, port: 9090 }],
    [
      {
        httpGet: {
          port: 8443,
          scheme: 'HTTPS',
          host: 'example.test',
          path: '/healthz?full=1',
          httpHeaders: [{ name: 'X-A', value: '1' }],
        },
      },
      {
        ...common,
        scheme: 'https',
        host: 'example.test',
        port: 8443,
        path: '/healthz?full=1',
        headers: [['X-A', '1']],
      },
    ],
    [{ tcpSocket: { port: 'http' } }, { kind: 'tcpSocket', host: '10.88.0.5', port: 8080 }],
    [{ tcpSocket: { port: 1, host: '::1' } }, { kind: 'tcpSocket', host: '::1', port: 1 }],
    [{ grpc: { port: 2 } }, { kind: 'grpc', host: '10.88.0.5', port: 2, service: '' }],
    [{ grpc: { port: 2, service: 'a' } }, { kind: 'grpc', host: '10.88.0.5', port: 2, service: 'a' }],
    [{ sleep: { seconds: 3 } }, { kind: 'sleep', seconds: 3 }],
  ];
  for (const [action, handler] of table) assert.deepEqual(handlerOf(action, web, '10.88.0.5'), handler);
});

test('what cannot be asked says why', () => {
  const table: [Action, string][] = [
    [{ httpGet: { port: 'grpc' } }, 'port grpc not found'],
    [{ tcpSocket: { port: 70_000 } }, 'invalid port number: 70000'],
    [{ httpGet: { port: 0 } }, 'invalid port number: 0'],
    [{}, 'there is no handler'],
  ];
  for (const [action, message] of table)
    assert.deepEqual(handlerOf(action, web, '10.88.0.5'), { kind: 'invalid', message });
});
