/**
 * Creates the parts of a server that talk to other servers. Loaded only by servers with peers, a mesh secret or Redis.
 *
 * @module
 */
import type { ServerConfig } from "./check_options.ts";
import { CallbackProof } from "./mesh/callback_proof.ts";
import type { MeshParts } from "./mesh/lazy_mesh.ts";
import { Mesh } from "./mesh/mesh.ts";
import { SecretProof } from "./mesh/secret_proof.ts";
import { SignedUpdates } from "./mesh/signed_updates.ts";
import { type PeerLink, Transport } from "./mesh/transport.ts";
import { Relay } from "./redis/relay.ts";
import type { ScopeSource } from "./scope/scope.ts";
import { type StorageCallOptions, withTimeout } from "./store/timeout.ts";
import type { Waiters } from "./sync/waiters.ts";
import type { Observer } from "./telemetry/observer.ts";

/** The maximum size of a peer's response, in bytes: several times what a peer sends at once. */
const MAX_PEER_RESPONSE_BYTES = 4_194_304;

/** What a mesh needs of the server. */
export interface CreateMeshOptions {
  readonly config: ServerConfig;
  readonly getServerId: () => string;
  readonly batch: StorageCallOptions;
  readonly observer: Observer;
  readonly waiters: Waiters;
  readonly scopes: ScopeSource;
}

/** Creates the mesh, and the connection to Redis where there is one. */
export function createMesh(options: CreateMeshOptions): MeshParts {
  const { config: { mesh: config, redis, storage, clock }, batch, waiters, observer, scopes } = options;
  const { secrets } = config;
  const secret = secrets.length > 0 ? new SecretProof({ secrets, clock }) : undefined;
  let link: PeerLink | undefined;
  const mesh = new Mesh(config, {
    storage,
    clock,
    serverId: options.getServerId,
    getLink: () => link ??= createLink(options, secret),
    callStorage: (operation, call) => withTimeout(operation, call, batch),
    getChanges: () => scopes.open().changes,
    drainOutbox: async () => void await scopes.open().reader.read([]),
    wake: (keys) => waiters.wake(keys),
    pollNow: () => scopes.open().poller.pollNow?.(),
    relay: redis && {
      publish: () => relay?.publish(),
      isTrusted: () => secret !== undefined && relay?.healthy === true,
    },
    report: (error) => observer.report(error),
  });
  const relay = createRelay(options, mesh, secret);
  return { mesh, relay };
}

function createLink(
  { config: { mesh: { peers, fetch, timeout }, clock }, getServerId }: CreateMeshOptions,
  secret: SecretProof | undefined,
): PeerLink {
  const client = { clock, fetch, timeout, maxBytes: MAX_PEER_RESPONSE_BYTES };
  const proof = secret ?? new CallbackProof({ ...client, id: getServerId(), peers: () => peers });
  return { proof, transport: new Transport({ ...client, proof }) };
}

function createRelay(
  { config: { redis, clock }, observer }: CreateMeshOptions,
  mesh: Mesh,
  secret: SecretProof | undefined,
): Relay | undefined {
  if (redis === undefined) return undefined;
  const updates = new SignedUpdates(mesh.redisUpdates, redis.channel, secret);
  return new Relay(redis, {
    clock,
    compose: (isMissed) => updates.compose(isMissed),
    receive: (text) => updates.receive(text),
    onMissed: () => updates.recoverMissed(),
    onHealth: (isDown) => observer.recordRedis(isDown),
    report: (error) => observer.report(error),
  });
}
