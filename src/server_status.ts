/**
 * The state of a server: its id, readiness, statistics and metrics.
 *
 * @module
 */
import type { ServerConfig } from "./check_options.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Admission } from "./limits/admission.ts";
import { Readiness, type ReadinessDeps, type ReadyState } from "./readiness.ts";
import type { NodeReader } from "./store/cached_reader.ts";
import type { OutboxSummary } from "./store/contract.ts";
import { type StorageCallOptions, withTimeout } from "./store/timeout.ts";
import { peerIds } from "./sync/sync.ts";
import type { Waiters } from "./sync/waiters.ts";
import type { Observer } from "./telemetry/observer.ts";
import type { MetricsView } from "./telemetry/prometheus.ts";
import type { MeshStats, PeerState, RedisStats, ServerStats } from "./types.ts";
import { VERSION } from "./version.ts";

/** The rows of the outbox are counted up to this number. */
const MAX_COUNTED = 10_000;

/** What the state of a server consists of. */
export interface ServerStatusOptions {
  readonly config: Pick<ServerConfig, "storage" | "clock" | "requestScopedIO">;
  readonly getServerId: () => string;
  readonly lifecycle: Lifecycle;
  readonly observer: Observer;
  readonly batch: StorageCallOptions;
  readonly admission: Admission;
  readonly waiters: Waiters;
  readonly scopes: StatusScopes;
  readonly mesh: StatusMesh | undefined;
}

/** What is shown of the scopes of requests. */
export interface StatusScopes {
  open(): { readonly reader: NodeReader };
  /** How many streams are open. */
  readonly streams: number;
  /** How many reads were sent to the storage. */
  readonly reads: number;
  /** How many commits were sent to the storage. */
  readonly writes: number;
}

/** What is shown of the mesh. */
export interface StatusMesh {
  readonly states: ReadonlyMap<string, PeerState>;
  /** The state of the connection to Redis; undefined without one. */
  readonly redis: RedisStats | undefined;
  /** Whether the server may not answer yet; never rejects. */
  isStarting(): Promise<boolean>;
  /** Rejects if the modules of the mesh cannot be loaded. */
  getStats(): Promise<MeshStats>;
}

/** Reports the state of one server. */
export class ServerStatus {
  readonly #options: ServerStatusOptions;
  readonly #startedAt: number;
  readonly #readinessDeps: ReadinessDeps;
  readonly #readiness: Readiness;

  /** @param options What the state consists of. */
  constructor(options: ServerStatusOptions) {
    const { config, batch, mesh, lifecycle } = options;
    this.#options = options;
    this.#startedAt = config.clock.elapsed();
    this.#readinessDeps = {
      storage: config.storage,
      batch,
      isStarting: mesh && (() => mesh.isStarting()),
      isClosing: () => lifecycle.isClosing,
    };
    this.#readiness = new Readiness(this.#readinessDeps);
  }

  /** The id of the server. */
  get serverId(): string {
    return this.#options.getServerId();
  }

  /** Whether `close()` was called. */
  get isClosing(): boolean {
    return this.#options.lifecycle.isClosing;
  }

  /** The ids of the peers that have ever answered and are not gone. */
  get peerIds(): string[] {
    return peerIds(this.#options.mesh?.states);
  }

  /** Whether the server is ready. Concurrent calls share one question to the storage, where requests may share it. */
  askReady(): Promise<ReadyState> {
    const { requestScopedIO } = this.#options.config;
    return (requestScopedIO ? new Readiness(this.#readinessDeps) : this.#readiness).ask();
  }

  /** The statistics. Never rejects: a storage that fails is part of them. */
  async getStats(): Promise<ServerStats> {
    const { config: { storage }, batch, observer, scopes, waiters, admission, mesh } = this.#options;
    const [healthy, reading, meshStats] = await Promise.all([
      withTimeout("isHealthy", () => storage.isHealthy(), batch).catch(() => false),
      Promise.resolve(scopes.open().reader.read([])).catch(() => undefined),
      this.#getMeshStats(),
    ]);
    const { metrics } = observer;
    return {
      serverId: this.serverId,
      version: VERSION,
      uptime: this.#uptime,
      healthy: healthy && reading !== undefined,
      closing: this.isClosing,
      maxVersion: reading?.maxVersion ?? 0,
      epoch: reading?.epoch ?? "",
      requests: metrics.requests.total,
      refusals: Object.fromEntries(metrics.refusals.entries),
      syncs: metrics.syncs.value,
      changedKeys: metrics.changedKeys.value,
      waits: metrics.waitsBegun.value,
      wakes: waiters.wakes,
      changes: metrics.changes.value,
      waiters: waiters.size,
      streams: scopes.streams,
      streamsBegun: metrics.streamsBegun.value,
      pendingResponses: admission.responses.size,
      storageReads: scopes.reads,
      storageWrites: scopes.writes,
      storageFailures: metrics.storageFailures.total,
      mesh: meshStats,
      redis: mesh?.redis ?? null,
    };
  }

  /** Counts the rows of the outbox. Never rejects: nothing is returned if the storage fails, or has no outbox. */
  async summarizeOutbox(): Promise<OutboxSummary | undefined> {
    const { config: { storage: { outbox } }, batch } = this.#options;
    if (outbox === undefined) return undefined;
    return await withTimeout("summarizeOutbox", () => outbox.summarize(MAX_COUNTED), batch).catch(() =>
      undefined
    );
  }

  /**
   * What the metrics route shows.
   *
   * @param outbox The rows of the outbox; left out if they were not counted.
   */
  async getMetrics(outbox?: OutboxSummary): Promise<MetricsView> {
    const { observer, scopes, waiters, admission, mesh } = this.#options;
    const meshStats = await this.#getMeshStats();
    const { isStorageDown, metrics } = observer;
    const { concurrency, bodies, responses } = admission;
    return {
      version: VERSION,
      uptime: this.#uptime,
      metrics,
      busy: concurrency.busy,
      readingBytes: bodies.held,
      waitingBytes: waiters.bytes,
      responses,
      waiters: waiters.size,
      wakes: waiters.wakes,
      streams: scopes.streams,
      isStorageDown,
      isClosing: this.isClosing,
      mesh: meshStats,
      redis: mesh?.redis ?? null,
      outbox,
    };
  }

  /** The state of the mesh; `null` without one, and if its modules cannot be loaded. */
  async #getMeshStats(): Promise<MeshStats | null> {
    return await this.#options.mesh?.getStats().catch(() => null) ?? null;
  }

  get #uptime(): number {
    return this.#options.config.clock.elapsed() - this.#startedAt;
  }
}
