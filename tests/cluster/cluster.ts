/**
 * Three servers, one each on Deno, Node and Bun, with a link from each to each other, to Redis, and from
 * the clients to each.
 *
 * @module
 */
import assert from "node:assert/strict";
import { redisRecipe } from "../run/redis.ts";
import { PrivateServer } from "../run/server.ts";
import type { Place } from "../races/engines.ts";
import { type Running, RUNTIMES, start } from "../storage/runtimes.ts";
import { Link } from "./link.ts";
import type { RedisLibrary, ServerLine, ServerOrder } from "./server.ts";

/** The parts of a cluster. */
export interface SetUp {
  /** Where each server keeps its nodes; the same place for those that share a storage. */
  readonly places: readonly Place[];
  /** The secret of the mesh. Without one, servers prove themselves by callbacks. */
  readonly meshSecret?: string;
  /** With which client each server uses Redis; undefined for one without. Left out, there is no Redis. */
  readonly redis?: readonly (RedisLibrary | undefined)[];
  /** How often each server says what it holds, in milliseconds; left out, never. */
  readonly statsInterval?: number;
}

/** What the write routes ask for. */
export const WRITE_TOKEN = "a-token-of-the-tests";

/** How long a server may take to end by itself, in milliseconds. */
const LONGEST_END = 10_000;

/** One server: the process that runs now, and its lines. */
interface Member {
  readonly name: string;
  readonly order: ServerOrder;
  /** The line from the clients. */
  readonly clientLink: Link;
  /** By the number of the other server, the line to it. */
  readonly lines: readonly (Link | undefined)[];
  readonly toRedis: Link | undefined;
  running: Running | undefined;
}

/** A cluster that runs. */
export class Cluster {
  /** For each server, the number of its storage. */
  readonly storages: readonly number[];
  readonly #members: readonly Member[];
  readonly #redis: PrivateServer | undefined;
  /** Processes that have ended, in whatever way. */
  readonly #ended: Running[] = [];

  private constructor(setUp: SetUp, members: readonly Member[], redis: PrivateServer | undefined) {
    const { places } = setUp;
    this.storages = places.map((place) =>
      places.findIndex((other) => JSON.stringify(other) === JSON.stringify(place))
    );
    this.#members = members;
    this.#redis = redis;
  }

  /** Starts everything; settles when all servers listen. */
  static async start(setUp: SetUp): Promise<Cluster> {
    const redis = setUp.redis && await PrivateServer.start(redisRecipe());
    const members: Member[] = [];
    for (const [i, place] of setUp.places.entries()) {
      const lines = await Promise.all(setUp.places.map((_, j) => j === i ? undefined : Link.open()));
      const library = setUp.redis?.[i];
      const toRedis = redis && library && await Link.open(Number(new URL(redis.address).port));
      const order: ServerOrder = {
        place,
        serverId: RUNTIMES[i]!,
        meshPeers: lines.flatMap((link) => link ? [`http://127.0.0.1:${link.port}`] : []),
        ...(setUp.meshSecret === undefined ? {} : { meshSecret: setUp.meshSecret }),
        ...(toRedis && library ? { redis: { library, url: `redis://127.0.0.1:${toRedis.port}` } } : {}),
        writeToken: WRITE_TOKEN,
        ...(setUp.statsInterval === undefined ? {} : { statsInterval: setUp.statsInterval }),
      };
      members.push({
        name: RUNTIMES[i]!,
        order,
        clientLink: await Link.open(),
        lines,
        toRedis: toRedis || undefined,
        running: undefined,
      });
    }
    const cluster = new Cluster(setUp, members, redis);
    try {
      await Promise.all(members.map((_, i) => cluster.restart(i)));
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** The numbers of the servers. */
  get servers(): readonly number[] {
    return this.#members.map((_, i) => i);
  }

  /** The servers' ids. */
  get names(): readonly string[] {
    return this.#members.map(({ name }) => name);
  }

  /** Whether there is a Redis. */
  get hasRedis(): boolean {
    return this.#redis !== undefined;
  }

  /** All links. */
  get links(): readonly Link[] {
    return this.#members.flatMap(({ clientLink, lines, toRedis }) => [clientLink, ...lines, toRedis]).filter((
      link,
    ) => link !== undefined);
  }

  /** How many bytes each server has sent each other one, and got as an answer. */
  get passed(): ReadonlyMap<string, number> {
    const all = this.#members.flatMap(({ name, lines }) =>
      lines.map((link, i) => [`${name} to ${this.names[i]}`, link?.passed ?? 0] as const)
    );
    return new Map(all);
  }

  /** The URL at which clients reach a server, through its link. */
  urlOf(server: number): string {
    return `http://127.0.0.1:${this.#members[server]!.clientLink.port}`;
  }

  /** Where a server is, whatever is wrong with its line; undefined while it is not there. */
  directUrlOf(server: number): string | undefined {
    const port = this.#members[server]!.clientLink.target;
    return port === undefined ? undefined : `http://127.0.0.1:${port}`;
  }

  /** Kills a server at once. */
  async kill(server: number): Promise<void> {
    const { running } = this.#members[server]!;
    assert.ok(running);
    running.kill();
    assert.equal((await running.ended).signal, "SIGKILL", "it was killed");
    this.#leave(server);
  }

  /** Starts a server on what it left; settles when it listens. */
  async restart(server: number): Promise<void> {
    const member = this.#members[server]!;
    const running = start(RUNTIMES[server]!, "../cluster/server.ts", [JSON.stringify(member.order)]);
    member.running = running;
    await running.hasPrinted(1);
    const line = JSON.parse(running.lines[0]!) as ServerLine;
    assert.ok("port" in line, `its first line is its port: ${running.lines[0]}`);
    this.#lead(server, line.port);
  }

  /** Pauses a server, or lets it continue. */
  signal(server: number, signal: "SIGSTOP" | "SIGCONT"): void {
    this.#members[server]!.running?.signal(signal);
  }

  /** Kills Redis. */
  async crashRedis(): Promise<void> {
    await this.#redis?.crash();
  }

  /** Starts Redis again, at the same address, with nothing in it. */
  async restartRedis(): Promise<void> {
    await this.#redis?.restart();
  }

  /** Lets no byte pass from a server to another, nor the answers to it; or lets them pass again. */
  block(from: number, to: number, isBlocked: boolean): void {
    const link = this.#members[from]!.lines[to];
    if (link) link.isBlocked = isBlocked;
  }

  /** The same between all servers and Redis. */
  blockRedis(isBlocked: boolean): void {
    for (const { toRedis } of this.#members) if (toRedis) toRedis.isBlocked = isBlocked;
  }

  /** What the servers have reported so far. */
  get reports(): readonly { readonly report: string; readonly message: string }[] {
    const all = [...this.#ended, ...this.#members.flatMap(({ running }) => running ?? [])];
    return all.flatMap(({ lines }) => lines.map((line) => JSON.parse(line) as ServerLine)).filter((line) =>
      "report" in line
    );
  }

  /** The current process of a server; `undefined` without one. */
  processOf(server: number): Running | undefined {
    return this.#members[server]!.running;
  }

  /** Asks all servers to end, and fails unless they do. */
  async end(): Promise<void> {
    await Promise.all(this.servers.map((server) => this.retire(server)));
  }

  /** Asks a server to end, and fails unless it does. */
  async retire(server: number): Promise<void> {
    const { name, running } = this.#members[server]!;
    assert.ok(running);
    running.signal("SIGTERM");
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`The server on ${name} has not ended ${LONGEST_END} ms after SIGTERM`);
      timer = setTimeout(() => reject(error), LONGEST_END);
    });
    const { code, signal } = await Promise.race([running.ended, late]).finally(() => clearTimeout(timer));
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the server on ${name} ended by itself`);
    this.#leave(server);
  }

  /** Removes everything that is left. */
  async stop(): Promise<void> {
    for (const { running } of this.#members) running?.kill();
    await Promise.allSettled(this.#members.map(({ running }) => running?.ended));
    await Promise.all(this.links.map((link) => link.close()));
    await this.#redis?.stop();
  }

  #lead(server: number, port: number | undefined): void {
    this.#members[server]!.clientLink.target = port;
    for (const { lines } of this.#members) {
      const link = lines[server];
      if (link) link.target = port;
    }
  }

  #leave(server: number): void {
    const member = this.#members[server]!;
    if (member.running) this.#ended.push(member.running);
    member.running = undefined;
    this.#lead(server, undefined);
  }
}
