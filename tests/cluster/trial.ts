/**
 * Runs a trial: a cluster with faults whose clients change and follow nodes, and which is checked from
 * outside after the last fault.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { JOIN_MARK } from "../../src/mesh/merge.ts";
import { SeededRandom } from "../random.ts";
import { RUNTIMES, testOn } from "../storage/runtimes.ts";
import { type Answer, change, Hopper, Refused, sightsOf, sync, update } from "./clients.ts";
import { Cluster, type SetUp } from "./cluster.ts";
import { type FaultCounts, makeFaults } from "./faults.ts";
import type { Change, Final, Isolation, Journal, Read } from "./journal.ts";
import { checkCluster } from "./cluster_checker.ts";

/** A kind of cluster. */
export interface Trial {
  readonly name: string;
  /** How long faults last, in seconds; `REALITY_CLUSTER_SECONDS` overrules it. */
  readonly seconds: number;
  /** Runs with storages of the test's own. */
  use(test: (setUp: SetUp) => Promise<void>): Promise<void>;
}

/** Keys that change often, and keys that change so rarely that clients wait for them. */
const BUSY_KEYS = Array.from({ length: 24 }, (_, i) => `busy:${i}`);
const QUIET_KEYS = Array.from({ length: 8 }, (_, i) => `quiet:${i}`);

/** Keys that are changed at once: more than fit into one page of a delta. */
const BULK_KEYS = Array.from({ length: 1200 }, (_, i) => `bulk:${i}`);

/** How many clients there are of each kind. */
const WRITERS = 8;
const ASKERS = 8;
const WAITERS = 4;

/** How long servers may take until all have the same, and clients until they are woken, in milliseconds. */
const LONGEST_HEALING = 60_000;
const LONGEST_WAKE = 10_000;

/** Servers that send nothing for this long are quiet, and must be within this time, in milliseconds. */
const SILENCE = 300;
const LONGEST_TALK = 30_000;

/** The figures of a trial. */
interface Outcome {
  readonly faults: FaultCounts;
  readonly acknowledged: number;
  readonly uncertain: number;
  readonly reads: number;
  /** Keys that ended with a node which stands for several changes. */
  readonly joined: number;
  /** Pairs of a server and a version that was handed out before. */
  readonly told: number;
  readonly reports: number;
  /** From the end of the faults until all servers had the same and knew of each other, in milliseconds. */
  readonly healing: number;
  /** The longest time from a change at one server to the answer of a waiting client at another, in milliseconds. */
  readonly wake: number;
}

/** Registers a trial. */
export function testCluster({ name, seconds, use }: Trial): void {
  testOn(RUNTIMES, `Three servers on ${name} miss no change, whatever befalls them`, async () => {
    const seed = process.env.REALITY_CLUSTER_SEED ?? String(Math.floor(Math.random() * 1e6));
    const duration = Number(process.env.REALITY_CLUSTER_SECONDS ?? seconds) * 1000;
    const again = `REALITY_CLUSTER_SEED=${seed}`;
    try {
      await use(async (setUp) => {
        const { faults, ...counts } = await run(setUp, new SeededRandom(seed), duration);
        console.log(`${name}, ${again}: ${JSON.stringify(counts)}, faults ${JSON.stringify(faults)}`);
      });
    } catch (error) {
      console.error(`${name} failed; the same faults again: ${again}`);
      throw error;
    }
  });
}

async function run(setUp: SetUp, random: SeededRandom, duration: number): Promise<Outcome> {
  const cluster = await Cluster.start(setUp);
  try {
    const course = new Course(cluster, random);
    const faults = await course.go(duration);
    const finals = await settle(cluster, course.keys);
    const healing = performance.now() - course.end;
    const journal: Journal = { storages: cluster.storages, finals, ...course };
    assert.deepEqual(checkCluster(journal), []);
    const told = await checkTold(cluster, journal);
    const wake = await checkWakes(cluster);
    // Converged nodes stay the same.
    assert.deepEqual(await settle(cluster, course.keys), finals);
    assert.deepEqual(cluster.reports.filter(({ report }) => report === "ERR_REALITY_INTERNAL"), []);
    await checkSilence(cluster);
    await endWhileWaiting(cluster);
    const acknowledged = course.changes.filter(({ answered }) => answered !== Infinity).length;
    assert.ok(acknowledged > 0 && course.reads.length > 0, "clients wrote and read");
    return {
      faults,
      acknowledged,
      uncertain: course.changes.length - acknowledged,
      reads: course.reads.length,
      joined: [...finals.values()].filter(({ hash }) => hash.startsWith(JOIN_MARK)).length,
      told,
      reports: cluster.reports.length,
      healing: Math.round(healing),
      wake: Math.round(wake),
    };
  } finally {
    await cluster.stop();
  }
}

/** The time in which clients write and read, and faults happen. */
class Course {
  readonly changes: Change[] = [];
  readonly reads: Read[] = [];
  readonly isolations: Isolation[] = [];
  /** When the time was over. */
  end = 0;
  readonly #cluster: Cluster;
  readonly #random: SeededRandom;
  readonly #pauses = new Map<ReturnType<typeof setTimeout>, () => void>();
  #isOver = false;
  #splits = 0;
  #written = 0;

  constructor(cluster: Cluster, random: SeededRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  /** All changed keys. */
  get keys(): readonly string[] {
    return [...new Set(this.changes.map(({ key }) => key))];
  }

  /** Runs clients and faults for this many milliseconds. No fault is left when this settles. */
  async go(duration: number): Promise<FaultCounts> {
    const clients = [
      ...Array.from({ length: WRITERS }, (_, i) => this.#write(this.#random.fork(`writer ${i}`))),
      ...Array.from({ length: ASKERS }, (_, i) => this.#ask(this.#random.fork(`asker ${i}`), i % 2 === 0)),
      ...Array.from({ length: WAITERS }, (_, i) => this.#wait(this.#random.fork(`waiter ${i}`), i % 2 === 0)),
    ];
    const end = setTimeout(() => this.#finish(), duration);
    const faults = makeFaults(this.#random.fork("faults"), {
      cluster: this.#cluster,
      pause: (ms) => this.#pause(ms),
      isOver: () => this.#isOver,
      onSplit: (servers) => this.#writeApart(servers),
      note: (isolation) => this.isolations.push(isolation),
    });
    for (const work of [faults, ...clients]) work.catch(() => this.#finish());
    await Promise.allSettled([faults, ...clients]);
    clearTimeout(end);
    await Promise.all(clients);
    return await faults;
  }

  #finish(): void {
    this.#isOver = true;
    this.end = performance.now();
    for (const [timer, resolve] of this.#pauses) {
      clearTimeout(timer);
      resolve();
    }
    this.#pauses.clear();
  }

  async #write(random: SeededRandom): Promise<void> {
    while (!this.#isOver) {
      await this.#pause(random.between(10, 60));
      const key = random.pick(random.happens(0.05) ? QUIET_KEYS : BUSY_KEYS);
      await this.#change(random.pick(this.#cluster.servers), key, random.happens(0.15));
    }
  }

  async #ask(random: SeededRandom, sendsEpoch: boolean): Promise<void> {
    const client = new Hopper(sendsEpoch);
    while (!this.#isOver) {
      await this.#pause(random.between(20, 80));
      const keys = [...BUSY_KEYS, ...QUIET_KEYS].filter(() => random.happens(0.7));
      await this.#read(client, random.pick(this.#cluster.servers), keys);
    }
  }

  async #wait(random: SeededRandom, sendsEpoch: boolean): Promise<void> {
    const client = new Hopper(sendsEpoch);
    const key = random.pick(QUIET_KEYS);
    while (!this.#isOver) {
      await this.#pause(random.between(0, 20));
      await this.#read(client, random.pick(this.#cluster.servers), [key], random.between(200, 1500));
    }
  }

  async #read(client: Hopper, server: number, keys: readonly string[], wait?: number): Promise<void> {
    try {
      this.reads.push(await client.ask(this.#cluster.urlOf(server), server, keys, wait));
    } catch (error) {
      // A client without an answer keeps its versions.
      if (error instanceof Refused) throw error;
    }
  }

  async #change(server: number, key: string, isDeletion: boolean, url?: string): Promise<void> {
    const hash = isDeletion ? "" : `change ${this.#written++}`;
    const asking = { key, hash, isDeletion, server };
    this.changes.push(await change(url ?? this.#cluster.urlOf(server), asking));
  }

  /** Changes keys on either side of a split, and lets clients see what they have there. */
  async #writeApart(servers: readonly number[]): Promise<void> {
    const turn = this.#splits++;
    const key = `split:${turn}`;
    await Promise.all(servers.map(async (server, i) => {
      const url = this.#cluster.directUrlOf(server);
      if (url === undefined) return;
      await this.#change(server, key, i === 1 && turn % 3 === 2, url);
      if (turn % 2 === i) {
        const hash = `change ${this.#written++}`;
        const askings = BULK_KEYS.map((key) => ({ key, hash, isDeletion: false, server }));
        this.changes.push(...await update(url, askings));
      }
      const known = Object.fromEntries([key, ...BULK_KEYS.slice(0, 10)].map((key) => [key, 0]));
      const answer = await sync(url, { known }).catch(() => undefined);
      if (answer === undefined) return;
      const { asked, answered } = answer;
      this.reads.push({ server, asked, answered, sights: sightsOf(known, answer) });
    }));
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isOver) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#pauses.delete(timer);
        resolve();
      }, ms);
      this.#pauses.set(timer, resolve);
    });
  }
}

/**
 * Asks all servers, as clients do, until all have the same nodes and the same epoch and hear each other again.
 *
 * @throws When that takes too long; says what differs.
 */
export async function settle(cluster: Cluster, keys: readonly string[]): Promise<Map<string, Final>> {
  const known = Object.fromEntries(keys.map((key) => [key, 0]));
  const legacy = { clientId: "tests", mode: "native", hint: "interaction" };
  const deadline = performance.now() + LONGEST_HEALING;
  let differences: string[] = [];
  while (performance.now() < deadline) {
    const answers = await Promise.all(
      cluster.servers.map((server) => sync(cluster.urlOf(server), { known, ...legacy }).catch(String)),
    );
    differences = [...compareAnswers(cluster, answers, keys)];
    const [first] = answers;
    if (differences.length === 0 && typeof first === "object") {
      return new Map(keys.map((key) => {
        const { version = 0, hash = "" } = first.changed[key] ?? {};
        return [key, { version, hash }];
      }));
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${LONGEST_HEALING} ms after the faults: ${differences.slice(0, 10).join("; ")}`);
}

function* compareAnswers(
  { names, servers }: Cluster,
  answers: readonly (Answer | string)[],
  keys: readonly string[],
): Iterable<string> {
  for (const server of servers) {
    const [first, answer] = [answers[0]!, answers[server]!];
    if (typeof answer === "string") {
      yield `${names[server]} does not answer: ${answer}`;
      continue;
    }
    const peers = answer.mesh.peers as Record<string, string>;
    for (const name of names) {
      if (name !== names[server] && peers[name] !== "healthy") {
        yield `${names[server]} says ${name} is ${peers[name]}`;
      }
    }
    if (typeof first === "string") continue;
    if (answer.epoch !== first.epoch) {
      yield `${names[server]} has the epoch ${answer.epoch}, not ${first.epoch}`;
    }
    for (const key of keys) {
      const [mine, theirs] = [JSON.stringify(answer.changed[key]), JSON.stringify(first.changed[key])];
      if (mine !== theirs) yield `${names[server]} has ${key} as ${mine}, ${names[0]} as ${theirs}`;
    }
  }
}

/** Every server tells a client with any earlier version that the node has changed. */
async function checkTold(cluster: Cluster, { changes, reads, finals }: Journal): Promise<number> {
  const handed = new Map<string, Set<number>>([...finals.keys()].map((key) => [key, new Set([0])]));
  for (const { key, version } of changes) handed.get(key)?.add(version);
  for (const { key, version } of reads.flatMap(({ sights }) => sights)) handed.get(key)?.add(version);
  const held = [...handed].map(([key, versions]) => [key, [...versions]] as const);
  const rounds = Math.max(...held.map(([, versions]) => versions.length));
  let count = 0;
  for (let round = 0; round < rounds; round++) {
    const known = Object.fromEntries(held.flatMap(([key, versions]) => {
      const version = versions[round];
      return version === undefined ? [] : [[key, version]];
    }));
    await Promise.all(cluster.servers.map(async (server) => {
      const { changed } = await sync(cluster.urlOf(server), { known });
      for (const [key, version] of Object.entries(known)) {
        const final = finals.get(key)!;
        const told = changed[key];
        const place = `${cluster.names[server]}, of ${key}, to a client with version ${version}`;
        if (version === final.version) assert.equal(told, undefined, `nothing new is told by ${place}`);
        else assert.equal(told?.version, final.version, `the newest version is told by ${place}`);
        count++;
      }
    }));
  }
  return count;
}

/** Servers without changes exchange no nodes: no update circulates. */
async function checkSilence(cluster: Cluster): Promise<void> {
  const deadline = performance.now() + LONGEST_TALK;
  for (let said: string[] = [""]; said.length > 0;) {
    assert.ok(
      performance.now() < deadline,
      `the servers still talk, ${LONGEST_TALK} ms after everybody asked: ${said.join(", ")}`,
    );
    const before = cluster.passed;
    await new Promise((resolve) => setTimeout(resolve, SILENCE));
    said = [...cluster.passed].flatMap(([line, bytes]) => {
      const more = bytes - before.get(line)!;
      return more === 0 ? [] : [`${more} bytes from ${line}`];
    });
  }
}

/** Servers stop while clients wait, and the clients are answered. */
async function endWhileWaiting(cluster: Cluster): Promise<void> {
  const request = { known: { never: 0 }, wait: 2 * LONGEST_WAKE };
  const beginning = performance.now();
  const waits = cluster.servers.map((server) => sync(cluster.urlOf(server), request));
  await Promise.all(cluster.servers.map((server) => sync(cluster.urlOf(server), { known: { never: 0 } })));
  await Promise.all([cluster.end(), Promise.allSettled(waits)]);
  assert.ok(performance.now() - beginning < LONGEST_WAKE, "waiting clients are answered at the end");
}

/** Checks that a change on each server wakes clients at each other one. Returns the longest time. */
async function checkWakes(cluster: Cluster): Promise<number> {
  let longest = 0;
  for (const writer of cluster.servers) {
    const key = `wake:${writer}`;
    const request = { known: { [key]: 0 }, wait: 2 * LONGEST_WAKE };
    const waits = cluster.servers.map((server) => sync(cluster.urlOf(server), request));
    // Sent after the waiting syncs: once these are answered, those most likely wait.
    await Promise.all(cluster.servers.map((server) => sync(cluster.urlOf(server), { known: { [key]: 0 } })));
    const asking = { key, hash: "woken", isDeletion: false, server: writer };
    const { asked, answered, version } = await change(cluster.urlOf(writer), asking);
    assert.ok(answered < Infinity, `${cluster.names[writer]} acknowledged a change`);
    for (const [server, wait] of waits.entries()) {
      const { changed, answered } = await wait;
      const place = `a client that waits at ${cluster.names[server]} for a change at ${
        cluster.names[writer]
      }`;
      assert.equal(changed[key]?.version, version, `${place} is told of it`);
      assert.ok(answered - asked < LONGEST_WAKE, `${place} is told after ${answered - asked} ms`);
      longest = Math.max(longest, answered - asked);
    }
  }
  return longest;
}
