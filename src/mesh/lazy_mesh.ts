/**
 * The mesh as the other parts of a server see it, before and after its modules are loaded.
 *
 * @module
 */
import { type Clock, settlesWithin } from "../clock.ts";
import { ClosedError, type RealityError, toRealityError } from "../errors.ts";
import type { LazyModule } from "../lazy_module.ts";
import { isMeshStorage, type RealityStorage } from "../store/contract.ts";
import type { MeshStats, PeerState, RedisStats } from "../types.ts";
import type { Mesh } from "./mesh.ts";

/** What talks to other servers. */
export interface MeshParts {
  readonly mesh: Mesh;
  /** The connection to Redis; undefined without Redis. */
  readonly relay?: MeshPartsRelay | undefined;
}

/** The connection to Redis (`../redis/relay.ts`). */
export interface MeshPartsRelay extends Readonly<RedisStats> {
  /** Subscribes. */
  start(): void;
  /** Publishes what is pending and unsubscribes, within a number of milliseconds. */
  close(ms: number): Promise<void>;
}

/** What a mesh that is loaded later needs. */
export interface LazyMeshOptions<T extends object> {
  readonly storage: RealityStorage;
  readonly clock: Clock;
  /** Whether there is a connection to Redis. */
  readonly hasRedis: boolean;
  readonly module: LazyModule<T>;
  /** Creates the mesh with the loaded module. */
  readonly create: (module: T) => MeshParts;
  readonly report: (error: RealityError) => void;
}

/** What a mesh claims about versions; used after `bootstrap()`. */
type Claims = Mesh["claims"];

const NO_STATES: ReadonlyMap<string, PeerState> = new Map();

/**
 * A mesh whose modules are loaded when the server is created. Requests of clients and of peers wait until they are loaded.
 * Changes are announced then.
 */
export class LazyMesh<T extends object> {
  readonly #options: LazyMeshOptions<T>;
  #parts: MeshParts | undefined;
  /** The keys of the changes that are not announced yet. A set is enough: their order does not matter. */
  #unannounced = new Set<string>();
  /** The highest version of these changes; undefined without any. */
  #version: number | undefined;
  #hasClients = false;
  #isLoading = false;
  #isClosed = false;

  /** @param options What the mesh is created with. */
  constructor(options: LazyMeshOptions<T>) {
    const { storage, module: { loaded } } = this.#options = options;
    // At once: a change that is written before the module is loaded is numbered like the later ones.
    if (isMeshStorage(storage)) storage.countByClock();
    // Redis connects now, so that a failure is reported at the start and not at the first request.
    if (loaded === undefined) this.#startLoading();
    else this.#start(loaded);
  }

  /** Id → state of all peers that have ever answered. */
  get states(): ReadonlyMap<string, PeerState> {
    return this.#parts?.mesh.states ?? NO_STATES;
  }

  /** Which versions that clients claim to hold the peers are asked about. Only after {@linkcode LazyMesh.bootstrap}. */
  get claims(): Claims {
    return this.#parts!.mesh.claims;
  }

  /** The state of the connection to Redis; undefined without one. */
  get redis(): RedisStats | undefined {
    if (!this.#options.hasRedis) return undefined;
    const { healthy = false, refused = 0 } = this.#parts?.relay ?? {};
    return { healthy, refused };
  }

  /** Announces that this server's own commit changed these keys. Returns at once. */
  announce(keys: readonly string[], version: number): void {
    if (this.#parts !== undefined) return this.#parts.mesh.announce(keys, version);
    for (const key of keys) this.#unannounced.add(key);
    this.#version = Math.max(this.#version ?? 0, version);
    this.#startLoading();
  }

  /** Contacts peers without a recent exchange, since a client asks. Returns at once. */
  contactStalePeers(): void {
    if (this.#parts !== undefined) return this.#parts.mesh.contactStalePeers();
    this.#hasClients = true;
    this.#startLoading();
  }

  /** Settles once this server may answer. Rejects if the modules cannot be loaded. */
  bootstrap(): Promise<void> {
    return this.#parts?.mesh.bootstrap() ?? this.#load().then(({ mesh }) => mesh.bootstrap());
  }

  /** Whether this server may not answer yet, because its storage is empty or the modules cannot be loaded. Never rejects. */
  isStarting(): Promise<boolean> {
    return this.#parts?.mesh.isStarting() ?? this.#load().then(({ mesh }) => mesh.isStarting(), () => true);
  }

  /** Asks the peers for what they have. */
  catchUp(): Promise<void> {
    return this.#parts?.mesh.catchUp() ?? this.#load().then(({ mesh }) => mesh.catchUp());
  }

  /** Answers the `gossip` of a request. Rejects if the modules cannot be loaded. */
  answer(gossip: unknown): Promise<unknown> {
    return this.#parts?.mesh.answer(gossip) ?? this.#load().then(({ mesh }) => mesh.answer(gossip));
  }

  /** The state of each peer, and counts of the exchanges. */
  async getStats(): Promise<MeshStats> {
    const { mesh } = this.#parts ?? await this.#load();
    return mesh.getStats();
  }

  /**
   * Stops. Pending updates are still sent.
   *
   * @param ms How long sending may take, in milliseconds.
   */
  async close(ms: number): Promise<void> {
    const { clock } = this.#options;
    const deadline = clock.elapsed() + ms;
    if (this.#parts === undefined) {
      // There may be changes to announce.
      await settlesWithin(clock, ms, this.#load().catch((error) => this.#report(error)));
      this.#isClosed = true;
    }
    const left = Math.max(0, deadline - clock.elapsed());
    await Promise.all([this.#parts?.relay?.close(left), this.#parts?.mesh.close(left)]);
  }

  /** Loads the modules, unless they are being loaded. A failure is reported. */
  #startLoading(): void {
    if (this.#isLoading) return;
    this.#isLoading = true;
    this.#load().catch((error) => this.#report(error)).finally(() => this.#isLoading = false);
  }

  async #load(): Promise<MeshParts> {
    const module = await this.#options.module.load();
    if (this.#isClosed) throw new ClosedError();
    return this.#parts ?? this.#start(module);
  }

  #start(module: T): MeshParts {
    const parts = this.#parts = this.#options.create(module);
    parts.relay?.start();
    if (this.#version !== undefined) parts.mesh.announce([...this.#unannounced], this.#version);
    this.#unannounced = new Set();
    if (this.#hasClients) parts.mesh.contactStalePeers();
    return parts;
  }

  #report(error: unknown): void {
    if (this.#isClosed) return;
    this.#options.report(toRealityError(error, "The modules of the mesh cannot be loaded"));
  }
}
