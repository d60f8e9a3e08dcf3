/**
 * Kubernetes' quantities: `1.5Gi`, `100m`, `2e3`. They are computed as whole billionths, the finest that the API knows, so
 * that nothing is rounded which the API does not round.
 */

export interface Quantity {
  /** In billionths: `1` is 1,000,000,000. */
  readonly nano: bigint;
  /** How it was written, and is written again: `Mi`, `M` or `e6`. */
  readonly format: 'binary' | 'decimal' | 'exponent';
}

const billion = 1_000_000_000n;
/** The API takes more of 1024s for this: 2^63 − 1 units. */
const most = (2n ** 63n - 1n) * billion;
/** A quantity that is longer is no quantity; the API's longest has some 30 digits. */
const longestText = 64;
/** Powers of ten beyond this make a quantity that is nobody's. */
const farthestPower = 100;

const pattern =
  /^(?<sign>[+-]?)(?=\.?\d)(?<whole>\d*)(?:\.(?<fraction>\d*))?(?:(?<suffix>[numkMGTPE]?|[KMGTPE]i)|[eE](?<power>[+-]?\d+))$/;
const decimalPowers = new Map(
  ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'].map((suffix, index) => [suffix, index * 3 - 9]),
);
const binaryPowers = new Map(
  ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'].map((suffix, index) => [suffix, index + 1]),
);

/** Reads a quantity; undefined if it is none. What is finer than a billionth is rounded away from zero, as the API does. */
export function parseQuantity(text: string): Quantity | undefined {
  const parts = text.length <= longestText ? pattern.exec(text)?.groups : undefined;
  if (!parts) return undefined;
  const { sign, whole = '', fraction = '', suffix = '', power } = parts;
  const digits = BigInt(`0${whole}${fraction}`);
  const binary = binaryPowers.get(suffix);
  const ten = (power === undefined ? (decimalPowers.get(suffix) ?? 0) : Number(power)) - fraction.length + 9;
  const exact = Math.max(-farthestPower, Math.min(farthestPower, ten));
  const scaled = digits * (binary === undefined ? 1n : 1024n ** BigInt(binary));
  const size = exact >= 0 ? scaled * 10n ** BigInt(exact) : wholeOf(scaled, 10n ** BigInt(-exact));
  const nano = binary !== undefined && size > most ? most : size;
  const format = power === undefined ? (binary === undefined ? 'decimal' : 'binary') : 'exponent';
  return { nano: sign === '-' ? -nano : nano, format };
}

/** Reads a quantity that was checked before. */
export function quantityOf(text: string): Quantity {
  const quantity = parseQuantity(text);
  if (quantity) return quantity;
  throw new Error(`${JSON.stringify(text)} is no quantity, and was not refused`);
}

/** Rounds away from zero. */
function wholeOf(value: bigint, divisor: bigint): bigint {
  const more = value < 0n ? 1n - divisor : divisor - 1n;
  return (value + more) / divisor;
}

/** Whole units, rounded away from zero: bytes, processes. More than JavaScript counts exactly, 8 PiB, is that much. */
export const unitsOf = (text: string) => countOf(quantityOf(text).nano, billion);

/** Whole thousandths, rounded away from zero: millicores. */
export const millisOf = (text: string) => countOf(quantityOf(text).nano, billion / 1000n);

/** A number of billionths in units of so many billionths, rounded away from zero. */
export function countOf(nano: bigint, unit: bigint): number {
  const count = Number(wholeOf(nano, unit));
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, count));
}

/** The API's one text for a quantity: no fraction, and the largest suffix that needs none. */
export function formatQuantity({ nano, format }: Quantity): string {
  const sign = nano < 0n ? '-' : '';
  const size = nano < 0n ? -nano : nano;
  if (format === 'binary' && size >= 1024n * billion && size % billion === 0n)
    return `${sign}${binaryText(size / billion)}`;
  if (size === 0n) return '0';
  let digits = size;
  let power = -9;
  while (digits % 10n === 0n) {
    digits /= 10n;
    power++;
  }
  for (; power % 3 !== 0; power--) digits *= 10n;
  if (format === 'exponent') return `${sign}${digits}${power === 0 ? '' : `e${power}`}`;
  for (; power > 18; power -= 3) digits *= 1000n;
  const [suffix = ''] = [...decimalPowers].find(([, each]) => each === power) ?? [];
  return `${sign}${digits}${suffix}`;
}

function binaryText(units: bigint): string {
  let [rest, last] = [units, ''];
  for (const suffix of binaryPowers.keys()) {
    if (rest % 1024n !== 0n) break;
    rest /= 1024n;
    last = suffix;
  }
  return `${rest}${last}`;
}

/** A count of bytes as the API writes memory: `1536Mi`. */
export const formatBytes = (bytes: number) =>
  formatQuantity({ nano: BigInt(bytes) * billion, format: 'binary' });

/** A count of millicores as the API writes processors: `1500m`, `2`. */
export const formatMillis = (millis: number) =>
  formatQuantity({ nano: BigInt(millis) * (billion / 1000n), format: 'decimal' });
