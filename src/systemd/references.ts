import { abortable } from './abortable.ts';
import { systemBusAddress } from './connection.ts';
import { Link } from './link.ts';
import { ignoreGone, managerCall, refusal } from './manager.ts';

/**
 * References that keep units loaded. systemd counts them by client of the bus, so they need the system bus, and end
 * with its connection; when that comes back they are taken again.
 */
export class References implements AsyncDisposable {
  readonly #counts = new Map<string, number>();
  readonly #link = new Link([systemBusAddress], {
    signal: () => undefined,
    up: async (connection, _again, signal) => {
      for (const held of this.#counts.keys())
        await connection.call(managerCall('RefUnit', 's', [held]), signal).catch(ignoreGone);
    },
    wanted: () => this.#counts.size > 0,
    gaveUp: () => undefined,
  });

  async ref(name: string, signal: AbortSignal): Promise<void> {
    const connection = await abortable(this.#link.connection(), signal);
    try {
      await connection.call(managerCall('RefUnit', 's', [name]), signal);
    } catch (error) {
      throw refusal(error, name);
    }
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  async unref(name: string, signal: AbortSignal): Promise<void> {
    const held = this.#counts.get(name);
    if (held === undefined) return;
    if (held > 1) this.#counts.set(name, held - 1);
    else this.#counts.delete(name);
    const connection = await abortable(this.#link.connection(), signal);
    await connection.call(managerCall('UnrefUnit', 's', [name]), signal).catch(ignoreGone);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link[Symbol.asyncDispose]();
  }
}
