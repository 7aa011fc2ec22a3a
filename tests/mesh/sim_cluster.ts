/**
 * A simulated cluster: real servers on a seeded clock, network and storages, run through a history.
 *
 * @module
 */
import type { RealityServer } from "../../src/server.ts";
import type { SyncRequest, SyncResponse } from "../../src/types.ts";
import { SeededRandom } from "../random.ts";
import { CALM, FakeNetwork } from "../network.ts";
import { SimClock } from "../sim_clock.ts";
import { Disk, type StandListener } from "./disk.ts";
import type { Deed, History } from "./history.ts";
import { attack } from "./byzantine_peer.ts";
import { GROUP, keyOf, mayGuestRead } from "./keys.ts";
import type { Handed, Machine, Sender, ServerProcess, SimClient, Wait } from "./machines.ts";
import { PendingCalls } from "./pending_calls.ts";
import { TrafficLog } from "./traffic_log.ts";
import { startProcess } from "./start_process.ts";
import { WaitLimits } from "./wait_limits.ts";
import { Record } from "./record.ts";
import { SimRedis } from "./redis.ts";

/** How long after close() the last timer of a server may run, in milliseconds. */
const AFTER_CLOSE = 5000;

/** Runs the servers, clients and faults of one history. */
export class SimCluster {
  readonly clock: SimClock = new SimClock();
  readonly record: Record = new Record();
  readonly network: FakeNetwork;
  readonly redis: SimRedis;
  readonly machines: readonly Machine[];
  readonly history: History;
  /** The messages between the servers. */
  readonly log: TrafficLog;
  /** All versions that were ever sent to a client. */
  readonly handed: Map<string, Handed> = new Map();
  readonly #random: SeededRandom;
  readonly #clients: readonly SimClient[];
  readonly #reserved = new Map<number, { version: number; process: ServerProcess }>();
  readonly #calls: PendingCalls;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #waitLimits: WaitLimits;
  /** All processes that have not ended, including those that are stopping. */
  readonly #processes = new Set<ServerProcess>();
  #writes = 0;

  /**
   * @param history What is there and what happens.
   * @param trace called with a line for each step
   */
  constructor(history: History, trace?: (line: string) => void) {
    this.history = history;
    this.#trace = trace;
    this.#random = new SeededRandom(`world ${history.seed}`);
    this.network = new FakeNetwork(this.clock, this.#random.fork("network"));
    const { record } = this;
    const report = (line: () => string) => this.trace(line);
    this.#calls = new PendingCalls({ now: () => this.clock.now(), record, trace: report });
    this.log = new TrafficLog({
      machines: () => this.machines,
      record,
      isSigned: history.secret,
      trace: report,
    });
    this.network.onDelivery = (delivery) => this.log.recordDelivery(delivery);
    this.redis = new SimRedis({
      clock: this.clock,
      random: this.#random.fork("redis"),
      faults: () => this.network.faults,
      onDelivery: (host, text) => this.log.recordPublication(host, text),
    });
    const skews = history.disks.map((_, disk) =>
      history.servers.find((server) => server.disk === disk)?.skew ?? 0
    );
    const disks = history.disks.map((options, i) =>
      new Disk(`disk-${i}`, history.outbox ? { ...options, outbox: true } : options, {
        record: this.record,
        // A storage's clock is that of the machine it was set up on.
        now: () => Math.floor(this.clock.now() + (this.#skewOf(i) ?? skews[i] ?? 0)),
        onStand: (...stand) => this.#recordStand(...stand),
      })
    );
    this.machines = history.servers.map(({ disk, skew }, i) => ({
      host: `server-${i}`,
      disk: disks[disk]!,
      skew,
      process: undefined,
      isDue: false,
      runs: 0,
    }));
    this.#waitLimits = new WaitLimits(history, this.machines);
    this.#clients = history.clients.map((isPlain, i) => ({
      isPlain,
      isGuest: history.rights && i === 0,
      known: new Map(),
      epoch: undefined,
      isBusy: false,
    }));
  }

  /** Descriptions of pending calls. */
  get pending(): readonly string[] {
    return this.#calls.descriptions;
  }

  /** The processes that run. */
  get running(): ServerProcess[] {
    return this.machines.flatMap(({ process }) => process ?? []);
  }

  /** The keys of this history. */
  get keys(): string[] {
    const keys = Array.from({ length: this.history.keys }, (_, key) => keyOf(key));
    return this.history.groups ? [...keys, GROUP] : keys;
  }

  /** Says what happens. */
  trace(line: () => string): void {
    this.#trace?.(`${this.clock.now() - Date.UTC(2026, 0, 1)} ms  ${line()}`);
  }

  /** Starts a server, unless it runs. */
  start(number: number): void {
    const machine = this.machines[number];
    if (machine === undefined || machine.process !== undefined) return;
    // An exclusive storage is never used by two processes, not even while one of them is stopping.
    const { disk } = machine;
    const isTaken = disk.options.exclusive &&
      [...this.#processes].some((process) => process.isOpen && process.path.disk === disk);
    machine.isDue = isTaken;
    if (isTaken) return;
    const process = startProcess(machine, {
      history: this.history,
      number,
      clock: this.clock,
      random: this.#random.fork(`${machine.host}.${machine.runs++}`),
      network: this.network,
      redis: this.redis,
      onError: (error) => this.trace(() => `${machine.host} reports ${error.message}`),
    });
    machine.process = process;
    this.#processes.add(process);
    this.trace(() => `${machine.host} starts on ${machine.disk.name}`);
  }

  /** Kills a server with everything that it is doing. */
  kill(number: number): void {
    const machine = this.machines[number];
    if (machine?.process === undefined) return;
    this.#end(machine.process);
    machine.process = undefined;
    this.trace(() => `${machine.host} is killed`);
  }

  /** Stops a server as its application does. */
  async stop(number: number): Promise<void> {
    const machine = this.machines[number];
    if (machine?.process === undefined) return;
    const { process } = machine;
    machine.process = undefined;
    this.trace(() => `${machine.host} is stopped`);
    await this.#calls.watch(`close() of ${machine.host}`, process, () => process.server.close());
    process.station.leave();
    process.isOpen = false;
    if (machine.isDue) this.start(number);
    // Waiting clients of the server are still answered.
    await this.clock.wait(AFTER_CLOSE);
    const { timers } = process.clock;
    if (timers > 0 && !process.hasEnded) {
      this.record.blame("timer", `${timers} timers of ${machine.host} outlive its close()`);
    }
    this.#end(process);
  }

  /** Does what a step of the history says. */
  perform(deed: Deed): void {
    this.trace(() => JSON.stringify(deed));
    switch (deed.do) {
      case "update":
      case "invalidate":
      case "delete":
        return void this.change(deed.server, deed.do, keyOf(deed.key));
      case "many":
        return this.#changeMany(deed.server, deed.keys.map(keyOf));
      case "burst":
        return deed.servers.forEach((server) => this.change(server, deed.what, keyOf(deed.key)));
      case "reserve":
        return void this.#reserve(deed.server, keyOf(deed.key), deed.name);
      case "publish":
        return void this.#publish(deed.server, keyOf(deed.key), deed.name);
      case "sync":
        return void this.#syncClient(deed.server, deed.client, deed.wait);
      case "stop":
        void this.stop(deed.server);
        return void this.clock.after(deed.pause, () => this.start(deed.server));
      case "kill":
        this.kill(deed.server);
        return void this.clock.after(deed.pause, () => this.start(deed.server));
      case "wipe":
        return this.#wipe(deed.disk, deed.pause);
      case "cut":
        for (const [from, to] of deed.cuts) this.network.cut(`server-${from}`, `server-${to}`);
        return;
      case "mend":
        return this.network.mend();
      case "storm":
        this.network.faults = deed.faults;
        return;
      case "calm":
        this.network.faults = CALM;
        return;
      case "redis":
        this.redis.isAway = deed.isAway;
        return;
      case "jump": {
        const machine = this.machines[deed.server];
        if (machine === undefined) return;
        machine.skew += deed.by;
        if (machine.process) machine.process.clock.skew = machine.skew;
        return;
      }
      case "lie":
        return void attack(this, deed);
    }
  }

  /** Changes one key through a server. */
  change(number: number, how: "update" | "invalidate" | "delete", key: string): void {
    const hash = `w${this.#writes++}`;
    const process = this.machines[number]?.process;
    if (how === "update" && process?.path.outbox !== undefined) return this.#commitRow(process, key, hash);
    this.#acknowledge(number, how, [key], async (server) => {
      if (how === "update") await server.updateNode(key, hash);
      else if (how === "invalidate") await server.invalidate(key);
      else await server.deleteNode(key);
    });
  }

  /**
   * Sends a sync to a server, and records the versions in its answer.
   *
   * @returns Its answer; undefined when it has none.
   */
  async sync(
    process: ServerProcess,
    request: SyncRequest,
    by: Sender = "itself",
  ): Promise<SyncResponse | undefined> {
    const readable = Object.entries(request.known).filter(([key]) => by !== "guest" || mayGuestRead(key));
    const wait: Wait | undefined = request.wait
      ? { known: new Map(readable), newsAt: undefined, isAside: false }
      : undefined;
    if (wait) process.waits.add(wait);
    const answer = await this.#calls.watch(`sync at ${this.#nameOf(process)}`, process, async () => {
      if (by === "itself") return await process.server.handleSync(request);
      const handler = process.server.getFetchHandler();
      const response = await handler(
        new Request("http://any/reality/sync", {
          method: "POST",
          headers: { "content-type": "application/json", "x-user": by },
          body: JSON.stringify(request),
        }),
      );
      const text = await response.text();
      return response.status === 200 ? JSON.parse(text) as SyncResponse : undefined;
    });
    if (wait) {
      process.waits.delete(wait);
      const nap = wait.newsAt === undefined ? 0 : this.clock.now() - wait.newsAt;
      if (!process.hasEnded && nap > this.#waitLimits.longest(process.path.disk, wait.isAside)) {
        this.record.blame("nap", `A client at ${this.#nameOf(process)} slept ${nap} ms past a change`);
      }
    }
    if (answer === undefined) return undefined;
    if (by === "guest") this.#checkGuest(process, request, answer);
    for (const { key, version } of Object.values(answer.changed)) {
      if (version === 0) continue;
      const handed = { key, version, epoch: answer.epoch };
      this.handed.set(`${key} ${version} ${answer.epoch}`, handed);
      if (this.record.ofVersion(key, version).length === 0) {
        this.record.blame(
          "forged",
          `${this.#nameOf(process)} sent ${key} ${version}, which no client wrote`,
        );
      }
    }
    return answer;
  }

  /** Checks that a key which a guest may not read looks like a missing one. */
  #checkGuest(process: ServerProcess, { known }: SyncRequest, { changed }: SyncResponse): void {
    for (const key of Object.keys(known)) {
      if (mayGuestRead(key)) continue;
      const meta = Object.hasOwn(changed, key) ? changed[key] : undefined;
      const nothing = known[key] === 0
        ? undefined
        : { key, version: 0, hash: "", updatedAt: 0, deleted: true };
      if (JSON.stringify(meta) === JSON.stringify(nothing)) continue;
      this.record.blame("leak", `${this.#nameOf(process)} told a guest ${JSON.stringify(meta)} of ${key}`);
    }
  }

  #end(process: ServerProcess): void {
    process.hasEnded = true;
    process.isOpen = false;
    this.#processes.delete(process);
    process.end();
    process.path.end();
    process.clock.stop();
    process.station.leave();
    process.redis?.end();
  }

  /** Another program commits a change. The server that is asked afterwards must have made it. */
  #commitRow(process: ServerProcess, key: string, hash: string): void {
    const { disk } = process.path;
    const number = this.machines.findIndex((machine) => machine.process === process);
    disk.commitRow(key, hash);
    this.#acknowledge(number, "a row", [key], async (server) => {
      await server.handleSync({ known: { [key]: 0 } });
    });
  }

  #changeMany(number: number, keys: readonly string[]): void {
    if (keys.length === 0) return;
    const updates = keys.map((key) => ({ key, hash: `w${this.#writes++}` }));
    this.#acknowledge(number, "updateMany", keys, async (server) => {
      await server.updateMany(updates);
    });
  }

  /** Checks that acknowledged changes were written. */
  #acknowledge(
    number: number,
    what: string,
    keys: readonly string[],
    act: (server: RealityServer) => Promise<void>,
  ): void {
    const process = this.machines[number]?.process;
    if (process === undefined) return;
    const before = this.record.order;
    const name = `${what} of ${keys.join()} at ${this.#nameOf(process)}`;
    void this.#calls.watch(name, process, async () => {
      await act(process.server);
      if (process.hasEnded) return;
      const life = await process.path.disk.life();
      for (const key of keys) {
        if (!this.record.wroteAfter(life, key, before)) {
          this.record.blame("lost", `${name} was acknowledged, not made`);
        }
      }
    });
  }

  /** An application that assigns the versions of its own changes, as with a storage that has only the eight methods. */
  async #reserve(number: number, key: string, name: number): Promise<void> {
    const process = this.machines[number]?.process;
    if (process === undefined) return;
    const version = await process.path.incrementVersion(key);
    this.#reserved.set(name, { version, process });
  }

  async #publish(number: number, key: string, name: number): Promise<void> {
    const process = this.machines[number]?.process;
    const reserved = this.#reserved.get(name);
    if (process === undefined || reserved?.process !== process) return;
    const hash = `w${this.#writes++}`;
    await process.path.setNode(key, { key, version: reserved.version, hash, updatedAt: process.clock.now() });
  }

  #wipe(number: number, pause: number): void {
    const disk = this.machines.find(({ disk }) => disk.name === `disk-${number}`)?.disk;
    if (disk === undefined) return;
    this.machines.forEach((machine, i) => {
      if (machine.disk !== disk) return;
      this.kill(i);
      this.clock.after(pause, () => this.start(i));
    });
    // Processes that are stopping belong to no machine any more.
    for (const process of this.#processes) if (process.path.disk === disk) this.#end(process);
    disk.wipe();
  }

  async #syncClient(number: number, name: number, wait: number): Promise<void> {
    const process = this.machines[number]?.process;
    const client = this.#clients[name];
    if (process === undefined || client === undefined || client.isBusy) return;
    client.isBusy = true;
    const known = Object.fromEntries(this.keys.map((key) => [key, client.known.get(key) ?? 0]));
    const request: SyncRequest = { known };
    if (client.epoch !== undefined) request.epoch = client.epoch;
    if (wait > 0) request.wait = wait;
    const overHttp = this.#random.happens(0.3);
    const answer = await this.sync(
      process,
      request,
      client.isGuest ? "guest" : overHttp ? "http" : "itself",
    );
    client.isBusy = false;
    // The answer may get lost on its way to the client.
    if (answer === undefined || this.#random.happens(this.network.faults.answerLoss / 2)) return;
    this.trace(() => `client ${name} hears ${JSON.stringify(answer.changed)} from ${this.#nameOf(process)}`);
    for (const { key, version } of Object.values(answer.changed)) client.known.set(key, version);
    if (!client.isPlain) client.epoch = answer.epoch;
  }

  #recordStand(...[key, version, by, isAside]: Parameters<StandListener>): void {
    this.trace(() => `${by.disk.name} has ${key} ${version}`);
    for (const process of this.running) {
      if (process.path.disk !== by.disk) continue;
      for (const wait of process.waits) {
        const known = wait.known.get(key);
        if (known === version) wait.newsAt = undefined;
        else if (known !== undefined) wait.newsAt ??= this.clock.now();
        // A server is not notified of writes of the application to the storage: the servers find them by polling.
        if (isAside) wait.isAside = true;
      }
    }
  }

  #skewOf(disk: number): number | undefined {
    return this.machines?.find((machine) => machine.disk.name === `disk-${disk}`)?.skew;
  }

  #nameOf(process: ServerProcess): string {
    return this.machines.find((machine) => machine.process === process)?.host ?? "a server that has ended";
  }
}
