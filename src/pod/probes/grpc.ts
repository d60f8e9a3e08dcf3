import { once } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { messageOf } from '../../host/error.ts';
import { type Answer, authority, failure, mostOutput, success, userAgent } from './answer.ts';
import type { GrpcHandler } from './handler.ts';
import { healthRequest, healthStatus } from './health-message.ts';

const unimplemented = '12';

interface Reply {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Headers, trailers over them, and the message; an error that ended the stream is thrown. */
async function replyOf(stream: ClientHttp2Stream, signal: AbortSignal): Promise<Reply> {
  let headers: IncomingHttpHeaders = {};
  stream.on('response', first => (headers = { ...first, ...headers }));
  stream.on('trailers', last => (headers = { ...headers, ...last }));
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= mostOutput) chunks.push(chunk);
  });
  await once(stream, 'close', { signal });
  return { headers, body: Buffer.concat(chunks) };
}

async function check(session: ClientHttp2Session, service: string, signal: AbortSignal): Promise<Reply> {
  await once(session, 'connect', { signal });
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
    'user-agent': userAgent('probe'),
  });
  const reply = replyOf(stream, signal);
  stream.end(healthRequest(service));
  return reply;
}

/** gRPC's messages are percent-encoded; what is not is shown as it came. */
function decoded(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}

function answerTo({ headers, body }: Reply): Answer {
  const code = headers['grpc-status'];
  const said = decoded(String(headers['grpc-message'] ?? ''));
  if (code === unimplemented)
    return failure(
      `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${said}`,
    );
  if (code === undefined)
    return failure(
      `error: health rpc probe failed: HTTP status ${String(headers[':status'] ?? 'unknown')}, no gRPC status`,
    );
  if (code !== '0') return failure(`error: health rpc probe failed: code ${String(code)}: ${said}`);
  const status = healthStatus(body);
  if (status === undefined) return failure('error: health rpc probe failed: the reply cannot be read');
  return status === 'SERVING'
    ? success('service healthy')
    : failure(`service unhealthy (responded with "${status}")`);
}

/** One call of gRPC's health check, over HTTP/2 without TLS. */
export async function askGrpc({ host, port, service }: GrpcHandler, signal: AbortSignal): Promise<Answer> {
  const { connect } = await import('node:http2');
  const session = connect(`http://${authority(host, port)}`);
  const failed = once(session, 'error', { signal }).then(([error]) => Promise.reject(error as Error));
  try {
    return answerTo(await Promise.race([check(session, service, signal), failed]));
  } catch (error) {
    signal.throwIfAborted();
    return failure(`error: failed to connect service at "${authority(host, port)}": ${messageOf(error)}`);
  } finally {
    failed.catch(() => undefined);
    session.on('error', () => undefined).destroy();
  }
}
