/**
 * The id of a server.
 *
 * @module
 */
import { randomName } from "./store/contract.ts";

/**
 * The option `serverId`, or a random id. The random id is created at the first use, because a Worker may not generate
 * random values while it starts.
 */
export class ServerId {
  #value: string | undefined;

  /** @param value The option `serverId`. */
  constructor(value: string | undefined) {
    this.#value = value;
  }

  /** The id. It never changes. */
  get value(): string {
    return this.#value ??= `server-${randomName(10)}`;
  }
}
