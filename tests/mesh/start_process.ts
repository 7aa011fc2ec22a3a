/**
 * Starts a server of a simulated cluster, with a clock, a storage and connections of its own.
 *
 * @module
 */
import "../loaded_mesh.ts";
import { RealityServer } from "../../src/server.ts";
import type { FakeNetwork } from "../network.ts";
import type { SeededRandom } from "../random.ts";
import { MachineClock, type SimClock } from "../sim_clock.ts";
import { DiskPath } from "./disk.ts";
import type { History } from "./history.ts";
import { authorize, findGroups } from "./keys.ts";
import type { Machine, ServerProcess } from "./machines.ts";
import { CHANNEL, type SimRedis } from "./redis.ts";

/** The secret of clusters with one. */
const SECRET = "a secret of thirty-two characters";

/** What a server process runs in. */
export interface ProcessSurroundings {
  readonly history: History;
  /** The index of the server in the history. */
  readonly number: number;
  readonly clock: SimClock;
  readonly random: SeededRandom;
  readonly network: FakeNetwork;
  readonly redis: SimRedis;
  readonly onError: (error: Error) => void;
}

/** Starts a server on a machine. The caller makes it the process of the machine. */
export function startProcess(
  machine: Machine,
  { history, number, random, onError, ...surroundings }: ProcessSurroundings,
): ServerProcess {
  const clock = new MachineClock(surroundings.clock, random, machine.skew);
  const path = new DiskPath(machine.disk, clock, random.fork("disk"));
  const station = surroundings.network.join(machine.host);
  const redis = history.redis.includes(number) ? surroundings.redis.join(machine.host) : undefined;
  const server = new RealityServer({
    storage: path,
    serverId: machine.host,
    meshPeers: (history.peers[number] ?? []).map((peer) => `http://server-${peer}`),
    ...(history.secret ? { meshSecret: SECRET } : {}),
    ...(redis ? { redis: { ...redis.clients, channel: CHANNEL } } : {}),
    ...(history.rights ? { authorize } : {}),
    ...(history.groups?.[history.servers[number]!.disk] ? { groups: findGroups } : {}),
    mesh: {
      fetch: (request: Request) => station.fetch(request),
      interval: history.interval,
      fanout: history.fanout,
      timeout: history.timeout,
    },
    limits: { maxBodyBytes: history.maxBody },
    clock,
    onError,
  });
  station.listen(server.getFetchHandler());
  let end = () => {};
  const ended = new Promise<undefined>((resolve) => end = () => resolve(undefined));
  return { server, path, clock, station, redis, waits: new Set(), isOpen: true, hasEnded: false, ended, end };
}
