/**
 * Plain objects in place of the runtime's `Request`, `Response`, `Headers` and `AbortController`. They do what the
 * servers and the simulated network use, without streams of their own, and take a fraction of the time.
 *
 * @module
 */

type HeadersSource = PlainHeaders | Iterable<readonly [string, string]> | Readonly<Record<string, string>>;

class PlainHeaders {
  readonly #values = new Map<string, string>();

  constructor(source: HeadersSource = []) {
    const entries = Symbol.iterator in source ? source : Object.entries(source);
    for (const [name, value] of entries) this.#values.set(name.toLowerCase(), value);
  }

  get(name: string): string | null {
    return this.#values.get(name) ?? this.#values.get(name.toLowerCase()) ?? null;
  }

  append(name: string, value: string): void {
    const before = this.get(name);
    this.#values.set(name.toLowerCase(), before === null ? value : `${before}, ${value}`);
  }

  [Symbol.iterator](): Iterator<[string, string]> {
    return this.#values[Symbol.iterator]();
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();

/** A complete body that is read as one chunk. */
class PlainBody {
  readonly #content: string | Bytes | null;
  bodyUsed = false;

  constructor(content: string | Bytes | null = null) {
    this.#content = content;
  }

  get body(): PlainStream | null {
    return this.#content === null ? null : { getReader: () => this.#read(), cancel: () => Promise.resolve() };
  }

  async text(): Promise<string> {
    this.bodyUsed = true;
    const content = this.#content ?? "";
    return await Promise.resolve(typeof content === "string" ? content : DECODER.decode(content));
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    this.bodyUsed = true;
    return await Promise.resolve(this.#bytes().buffer);
  }

  #bytes(): Bytes {
    const content = this.#content ?? "";
    return typeof content === "string" ? ENCODER.encode(content) : content;
  }

  #read(): PlainReader {
    this.bodyUsed = true;
    let chunks = this.#content?.length === 0 ? [] : [this.#bytes()];
    return {
      read: () => {
        const value = chunks.pop();
        return Promise.resolve(value === undefined ? { done: true, value } : { done: false, value });
      },
      cancel: () => {
        chunks = [];
        return Promise.resolve();
      },
    };
  }
}

interface PlainStream {
  getReader(): PlainReader;
  cancel(): Promise<void>;
}

interface PlainReader {
  read(): Promise<{ done: boolean; value: Bytes | undefined }>;
  cancel(): Promise<void>;
}

interface PlainInit {
  readonly method?: string;
  readonly headers?: HeadersSource;
  readonly body?: string | Bytes | null;
  readonly signal?: PlainSignal | null;
}

class PlainRequest extends PlainBody {
  readonly url: string;
  readonly method: string;
  readonly headers: PlainHeaders;
  #signal: PlainSignal | undefined;

  constructor(url: string | URL, { method = "GET", headers, body, signal }: PlainInit = {}) {
    super(body);
    this.url = String(url);
    this.method = method;
    this.headers = headers instanceof PlainHeaders ? headers : new PlainHeaders(headers);
    this.#signal = signal ?? undefined;
  }

  get signal(): PlainSignal {
    return this.#signal ??= new PlainSignal();
  }
}

class PlainResponse extends PlainBody {
  readonly status: number;
  readonly headers: PlainHeaders;
  readonly type: ResponseType = "default";

  constructor(
    body?: string | Bytes | null,
    { status = 200, headers }: { readonly status?: number; readonly headers?: HeadersSource } = {},
  ) {
    super(body);
    this.status = status;
    this.headers = new PlainHeaders(headers);
  }
}

class PlainSignal {
  aborted = false;
  reason: unknown = undefined;
  #listeners: Set<() => void> | undefined;

  addEventListener(_type: "abort", listener: () => void): void {
    (this.#listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: "abort", listener: () => void): void {
    this.#listeners?.delete(listener);
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  /** Only the first reason counts. */
  end(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const listeners = this.#listeners;
    this.#listeners = undefined;
    for (const listener of listeners ?? []) listener();
  }
}

/** Shared, since its stack is never read and takes long to create. */
const ABORTED = new DOMException("The signal has been aborted", "AbortError");

class PlainController {
  readonly signal: PlainSignal = new PlainSignal();

  abort(reason: unknown = ABORTED): void {
    this.signal.end(reason);
  }
}

const STAND_INS = {
  Headers: PlainHeaders,
  Request: PlainRequest,
  Response: PlainResponse,
  AbortController: PlainController,
};

/**
 * Puts plain objects in place of the runtime's own.
 *
 * @returns A function that gives the runtime its own back.
 */
export function holdWeb(): () => void {
  const names = Object.keys(STAND_INS) as (keyof typeof STAND_INS)[];
  const own = names.map((name) => Object.getOwnPropertyDescriptor(globalThis, name)!);
  for (const name of names) {
    Object.defineProperty(globalThis, name, { value: STAND_INS[name], configurable: true, writable: true });
  }
  return () => names.forEach((name, i) => Object.defineProperty(globalThis, name, own[i]!));
}
