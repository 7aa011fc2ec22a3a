/**
 * Creates the parts of a server and connects them.
 *
 * @module
 */
import { ReadAccess } from "./access.ts";
import type { ServerConfig } from "./check_options.ts";
import { RealityError } from "./errors.ts";
import { Hooks } from "./hooks.ts";
import type { HandlerDeps } from "./http/route.ts";
import { Lifecycle } from "./lifecycle.ts";
import type { Admission } from "./limits/admission.ts";
import { SharedBodyBudget } from "./limits/body_budget.ts";
import { ClientLimit } from "./limits/client_limit.ts";
import { PendingResponses } from "./limits/pending_responses.ts";
import { LazyMesh } from "./mesh/lazy_mesh.ts";
import { detailsModule, meshModule, stampsModule, streamsModule } from "./optional_modules.ts";
import { Nodes } from "./scope/nodes.ts";
import { OutboxWriter } from "./scope/outbox_writer.ts";
import { RequestScopes } from "./scope/request_scope.ts";
import type { ScopeSource } from "./scope/scope.ts";
import { SharedScope } from "./scope/shared_scope.ts";
import { Shutdown } from "./scope/shutdown.ts";
import { ServerStatus } from "./server_status.ts";
import { LazyStreams } from "./sse/lazy_streams.ts";
import type { Stamp } from "./stamp/stamp.ts";
import type { StampOptions, Stamps } from "./stamp/stamps.ts";
import { randomName } from "./store/contract.ts";
import { Groups } from "./store/groups.ts";
import type { StorageCallOptions } from "./store/timeout.ts";
import type { GroupDetails } from "./sync/group_details.ts";
import type { SyncDeps } from "./sync/sync.ts";
import { SyncRequests } from "./sync/sync_requests.ts";
import { Waiters } from "./sync/waiters.ts";
import { Observer } from "./telemetry/observer.ts";

/** What the methods of a server call. */
export interface ServerParts {
  readonly nodes: Nodes;
  readonly outbox: OutboxWriter;
  readonly syncs: SyncRequests;
  readonly streams: LazyStreams;
  readonly createStamp: (keys: readonly string[], options: StampOptions) => Promise<Stamp>;
  readonly waiters: Waiters;
  readonly status: ServerStatus;
  readonly shutdown: Shutdown;
  readonly handlerDeps: HandlerDeps;
}

/** The link to other servers. */
type ServerMesh = LazyMesh<typeof import("./create_mesh.ts")>;

/** What every part of a server may use. */
interface Base {
  readonly config: ServerConfig;
  readonly getServerId: () => string;
  readonly lifecycle: Lifecycle;
  readonly observer: Observer;
  readonly batch: StorageCallOptions;
  readonly hooks: Hooks;
  readonly waiters: Waiters;
  readonly groups: Groups | undefined;
}

/** Creates a server. The storage is not called before the first request or change. */
export function createServer(config: ServerConfig): ServerParts {
  const { clock, limits } = config;
  const base = createBase(config);
  const { lifecycle, observer, hooks, waiters } = base;
  const { scopes, mesh } = createScopes(base);
  const admission = createAdmission(base, scopes);
  const { concurrency, bodies } = admission;
  const stalls = scopes.createDeadlines(limits.stallTimeout);
  const access = new ReadAccess(config.authorize, hooks);
  const nodes = new Nodes(scopes, lifecycle, observer);
  const getDeps = createGetSyncDeps(base, scopes, mesh);
  const syncs = new SyncRequests({ ...base, access, concurrency, mesh, getDeps });
  const outbox = new OutboxWriter({ outbox: config.storage.outbox, scopes, lifecycle });
  const streams = new LazyStreams(streamsModule, { ...base, access, scopes, stalls, mesh });
  let stamps: Stamps | undefined;
  const createStamp = async (keys: readonly string[], options: StampOptions): Promise<Stamp> => {
    const { Stamps } = stampsModule.loaded ?? await stampsModule.load();
    stamps ??= new Stamps({ config, lifecycle, access, getDeps });
    return await stamps.create(keys, options);
  };
  const status = new ServerStatus({ ...base, admission, scopes, mesh });
  const shutdown = new Shutdown({ ...base, scopes, bodies, stalls, mesh });
  const handlerDeps: HandlerDeps = {
    clock,
    admission,
    config,
    hooks,
    syncs,
    isPublic: config.isPublic,
    streams,
    nodes,
    status,
    observer,
  };
  return { nodes, outbox, syncs, streams, createStamp, waiters, status, shutdown, handlerDeps };
}

function createBase(config: ServerConfig): Base {
  const { storage, clock, limits, hookTimeout, storageTimeout, requestScopedIO } = config;
  const observer = new Observer({ ...config, peers: config.mesh.peers });
  const batch: StorageCallOptions = {
    clock,
    timeout: storageTimeout,
    onOutcome: (operation, error, ms) => observer.recordStorage(operation, error, ms),
    metrics: observer.metrics,
  };
  const hooks = new Hooks({
    clock,
    timeout: hookTimeout,
    report: (error) => observer.report(error),
    isOfOneRequest: requestScopedIO,
  });
  const waiters = new Waiters(clock, limits, storage);
  waiters.onClientFull = createClientFullReport(observer);
  let { serverId } = config;
  // A random id is created at the first use: a Worker may not generate random values while it starts.
  const getServerId = () => serverId ??= `server-${randomName(10)}`;
  // Nodes of other storages come in any order: with peers nothing can be proven.
  const groups = config.groups &&
    new Groups(
      { ...config.groups, detail: config.groups.detail && !isMeshed(config) },
      limits,
      (error) => observer.report(error),
    );
  return { config, getServerId, lifecycle: new Lifecycle(), observer, batch, hooks, waiters, groups };
}

/** Creates the scopes and the link to other servers. A commit is announced to the mesh; the mesh writes by a scope. */
function createScopes(base: Base): { scopes: ScopeSource; mesh: ServerMesh | undefined } {
  const options = { ...base.config, ...base, isMeshed: isMeshed(base.config) };
  const scopes = base.config.requestScopedIO
    ? new RequestScopes(options)
    : new SharedScope(options, (keys, version) => mesh?.announce(keys, version));
  const mesh = createLazyMesh(base, scopes);
  return { scopes, mesh };
}

/** Whether a server exchanges changes with others. */
function isMeshed({ mesh: { peers, secrets }, redis }: ServerConfig): boolean {
  return peers.length > 0 || secrets.length > 0 || redis !== undefined;
}

function createLazyMesh(base: Base, scopes: ScopeSource): ServerMesh | undefined {
  const { redis, storage, clock } = base.config;
  if (!isMeshed(base.config)) return undefined;
  return new LazyMesh({
    storage,
    clock,
    hasRedis: redis !== undefined,
    module: meshModule,
    create: ({ createMesh }) => createMesh({ ...base, scopes }),
    report: (error) => base.observer.report(error),
  });
}

function createAdmission({ config, observer, hooks }: Base, scopes: ScopeSource): Admission {
  const { limits, clock, rateLimit, trustProxy } = config;
  const { metrics } = observer;
  return {
    limits,
    concurrency: scopes.concurrency,
    clients: rateLimit && new ClientLimit(rateLimit, trustProxy, {
      clock,
      hooks,
      report: (error) => observer.report(error),
    }),
    bodies: new SharedBodyBudget(limits, clock, scopes.createDeadlines(limits.bodyTimeout)),
    responses: new PendingResponses(limits, scopes.createDeadlines(limits.responseTimeout), metrics),
  };
}

/** Returns a function that provides what answers a sync: one object for all requests, or a new one for each. */
function createGetSyncDeps(
  base: Base,
  scopes: ScopeSource,
  mesh: ServerMesh | undefined,
): () => SyncDeps {
  const { config: { clock, limits, requestScopedIO }, observer: { metrics }, groups } = base;
  const findDetail = createFindDetail(base);
  const create = (): SyncDeps => {
    const { reader, waiters, poller } = scopes.open();
    return { reader, waiters, poller, clock, maxWait: limits.maxWait, mesh, metrics, groups, findDetail };
  };
  if (requestScopedIO) return create;
  const deps = create();
  return () => deps;
}

/** Returns a function that finds which members of groups changed; undefined without the option. */
function createFindDetail({ config: { storage, clock }, groups, batch }: Base): SyncDeps["findDetail"] {
  if (groups?.isDetailed !== true) return undefined;
  let details: GroupDetails | undefined;
  return async (...given) => {
    const { GroupDetails } = detailsModule.loaded ?? await detailsModule.load();
    details ??= new GroupDetails({ storage, groups, clock, calls: batch });
    return await details.find(...given);
  };
}

/** Returns a function that reports once that a client has reached its share of the waiters. */
function createClientFullReport(observer: Observer): () => void {
  let isReported = false;
  return () => {
    if (isReported) return;
    isReported = true;
    observer.report(
      new RealityError(
        "ERR_REALITY_OVERLOADED",
        "A client has its share of the places to wait (maxWaitersPerClient, maxWaitingBytes); if it is a proxy that " +
          "many clients come by, name it in trustProxy",
      ),
    );
  };
}
