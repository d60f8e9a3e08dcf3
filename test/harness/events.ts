/**
 * A reporter for `node --test`: one line of JSON for each event, so that results of several runs, in labs and outside,
 * become one report. A line starts with a character that no program prints by chance.
 */
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

export const mark = '\u001e';

/** An error's text, made where its class is known. */
interface ErrorText {
  readonly text: string;
  readonly failureType: string | undefined;
}

export default async function* events(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    yield `${mark}${JSON.stringify(event, (key, value: unknown) => (key === 'error' ? textOf(value) : value))}\n`;
  }
}

function textOf(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { failureType } = error as { failureType?: string };
  return { text: inspect(error.cause ?? error), failureType } satisfies ErrorText;
}

/** The event that a line holds; undefined for a line that is the tests' own output. */
export function parseEvent(line: string): TestEvent | undefined {
  if (!line.startsWith(mark)) return undefined;
  return JSON.parse(line.slice(1), (key, value: unknown) =>
    key === 'error' && isErrorText(value) ? failure(value.text, value.failureType) : value,
  ) as TestEvent;
}

const isErrorText = (value: unknown): value is ErrorText =>
  typeof value === 'object' && value !== null && 'text' in value;

/** An error as the runner's reporters expect it, printed as `text`. */
export function failure(text: string, failureType = 'testCodeFailure'): Error {
  const cause = { [inspect.custom]: () => text };
  return Object.assign(new Error(text, { cause }), { code: 'ERR_TEST_FAILURE', failureType });
}
