/**
 * Modules that are loaded when they are first needed.
 *
 * @module
 */
import type { MaybePromise } from "./maybe_promise.ts";

/**
 * A module that is loaded at its first use. Keeps the module and not its promise: on Workers a request may not wait for a
 * promise of another request. Concurrent first uses share one import in the runtime. After a failure the next use imports
 * again.
 */
export class LazyModule<T extends object> {
  readonly #import: () => Promise<T>;
  #module: T | undefined;

  /** @param load Imports the module. */
  constructor(load: () => Promise<T>) {
    this.#import = load;
  }

  /** The module, once it is loaded. */
  get loaded(): T | undefined {
    return this.#module;
  }

  /** Loads the module. Rejects if the import fails. */
  async load(): Promise<T> {
    return this.#module ??= await this.#import();
  }

  /** Calls back with the module: at once if it is loaded. */
  use<R>(call: (module: T) => MaybePromise<R>): MaybePromise<R> {
    return this.#module === undefined ? this.load().then(call) : call(this.#module);
  }
}
