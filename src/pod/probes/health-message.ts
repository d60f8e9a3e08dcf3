/** Messages of grpc.health.v1.Health/Check on the wire: gRPC's frame of five bytes, protobuf in it. */

const lengthDelimited = 2;
const wireVarint = 0;

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 0x80);
  }
}

/** HealthCheckRequest: field 1 is the service, left out if it is empty. */
export function healthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  const message =
    name.length === 0
      ? name
      : Buffer.concat([Buffer.from([(1 << 3) | lengthDelimited, ...varint(name.length)]), name]);
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  return Buffer.concat([frame, message]);
}

const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
export type HealthStatus = (typeof statuses)[number];

/** Reads a varint; undefined if it does not end. */
function readVarint(bytes: Buffer, from: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = from; index < Math.min(bytes.length, from + 10); index++) {
    const byte = bytes[index] ?? 0;
    value += (byte & 0x7f) * 2 ** (7 * (index - from));
    if (byte < 0x80) return { value, end: index + 1 };
  }
  return undefined;
}

/** Where a field that is not wanted ends; undefined for one that protobuf does not know. */
function skipped(bytes: Buffer, from: number, wireType: number): number | undefined {
  const fixed: Record<number, number> = { 1: 8, 5: 4 };
  if (wireType === wireVarint) return readVarint(bytes, from)?.end;
  if (wireType === lengthDelimited) {
    const length = readVarint(bytes, from);
    return length && length.end + length.value;
  }
  const size = fixed[wireType];
  return size === undefined ? undefined : from + size;
}

/** HealthCheckResponse: field 1 is the status, `UNKNOWN` if it is left out. Undefined for bytes that are no reply. */
export function healthStatus(reply: Buffer): HealthStatus | undefined {
  if (reply.length < 5 || reply[0] !== 0) return undefined;
  const length = reply.readUInt32BE(1);
  if (reply.length < 5 + length) return undefined;
  const message = reply.subarray(5, 5 + length);
  let status = 0;
  for (let at = 0; at < message.length; ) {
    const tag = readVarint(message, at);
    if (!tag) return undefined;
    const wireType = tag.value % 8;
    const isStatus = tag.value === ((1 << 3) | wireVarint);
    const value = isStatus ? readVarint(message, tag.end) : undefined;
    const end = value?.end ?? skipped(message, tag.end, wireType);
    if (end === undefined || end > message.length) return undefined;
    status = value?.value ?? status;
    at = end;
  }
  return statuses[status] ?? 'UNKNOWN';
}
