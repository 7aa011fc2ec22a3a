/**
 * The server that hostile input is tried on, what its application's hooks do, and the rule that must hold afterwards.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type HandlerOptions,
  MemoryStorage,
  RealityError,
  type RealityNodeMeta,
  RealityServer,
  type RealityServerOptions,
} from "../../mod.ts";
import { until } from "../http/client.ts";
import { TOKEN } from "./corpus.ts";

/** Nodes without writes: no random input names them. */
const CALM: ReadonlyMap<string, string> = new Map([["left-alone:1", "still"], ["left-alone:2", "as ever"]]);

/** A server, and all that it has reported. */
export class HostileScene {
  readonly storage: MemoryStorage = new MemoryStorage();
  readonly server: RealityServer;
  readonly reports: RealityError[] = [];
  readonly handler: HandlerOptions;
  readonly #hooksStall: boolean;
  readonly #calm = new Map<string, RealityNodeMeta>();

  private constructor(
    options: Partial<RealityServerOptions>,
    handler: HandlerOptions,
    hooksStall: boolean,
  ) {
    this.handler = handler;
    this.#hooksStall = hooksStall;
    this.server = new RealityServer({
      storage: this.storage,
      onError: (error) => this.reports.push(error),
      ...options,
    });
  }

  /**
   * Opens one, with its nodes in place. Its hooks take a request's URL and origin apart, as applications do, and throw
   * where that fails.
   *
   * @param options What the server is made with beside that.
   * @param hooksStall Whether hooks may fail to answer in time, which is reported.
   */
  static async open(
    options: Partial<RealityServerOptions> = {},
    { hooksStall = false }: { hooksStall?: boolean } = {},
  ): Promise<HostileScene> {
    const isOurs = (request: Request) => new URL(request.url).pathname.startsWith("/reality/");
    const scene = new HostileScene(
      {
        writeTokens: [TOKEN],
        authorize: isOurs,
        authorizeWrite: (request, keys) => isOurs(request) && keys.includes("nobody may"),
        public: (key) => key !== "private",
        limits: { maxWait: 20 },
        ...options,
      },
      { cors: { origin: (origin) => origin !== "null" && new URL(origin).hostname === "app.example" } },
      hooksStall,
    );
    for (const [key, hash] of CALM) {
      await scene.server.updateNode(key, hash);
      scene.#calm.set(key, (await scene.server.getNode(key))!);
    }
    return scene;
  }

  /**
   * What must hold after each input: no internal error, no waiting request, a correct answer to a
   * plain sync, and unchanged nodes that were not written to.
   *
   * @param sync Asks an adapter.
   */
  async assertUnharmed(sync: (body: string) => Promise<{ status: number; body: string }>): Promise<void> {
    assert.deepEqual(await this.assertServes(sync), Object.fromEntries(this.#calm));
    for (const [key, meta] of this.#calm) assert.deepEqual(await this.storage.getNode(key), meta);
  }

  /** The same without the last: for input of a client that may change every node. Returns the answer of the sync. */
  async assertServes(sync: (body: string) => Promise<{ status: number; body: string }>): Promise<unknown> {
    const keys = [...CALM.keys(), "never-there"];
    const known = Object.fromEntries(keys.map((key) => [key, 0]));
    const { status, body } = await sync(JSON.stringify({ known }));
    assert.equal(status, 200, body);
    await until(async () => {
      const { waiters, streams } = await this.server.getStats();
      return waiters === 0 && streams === 0;
    }, "no request waits");
    this.assertNoFault();
    return JSON.parse(body).changed;
  }

  /** Nothing was reported that only a fault of ours, or of an application's hook, can be the cause of. */
  assertNoFault(): void {
    const codeOf = ({ code, cause }: RealityError) => cause instanceof RealityError ? cause.code : code;
    const expected = this.reports.filter((report) =>
      this.#hooksStall && codeOf(report) === "ERR_REALITY_HOOK"
    );
    const faults = this.reports.filter((report) => !expected.includes(report)).filter(({ code }) =>
      ![
        "ERR_REALITY_PEER_UNREACHABLE",
        "ERR_REALITY_PEER_REFUSED",
        "ERR_REALITY_PEER_REPLY",
        "ERR_REALITY_RELAY",
      ]
        .includes(code)
    );
    assert.deepEqual(faults.map(({ code, message, cause }) => [code, message, String(cause)]), []);
  }

  /** Stops it. */
  async close(): Promise<void> {
    await this.server.close();
  }
}
