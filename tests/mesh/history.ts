/**
 * Histories of a simulated cluster: its servers and storages, and the steps and faults. Created from a seed, and reduced
 * while they still fail.
 *
 * @module
 */
import { SeededRandom } from "../random.ts";
import { CALM, type NetworkFaults } from "../network.ts";
import type { DiskOptions } from "./disk.ts";

/** One server of a cluster. */
export interface ServerPlan {
  /** Which storage it uses. */
  readonly disk: number;
  /** By how much its clock is wrong, in milliseconds. */
  readonly skew: number;
  /** When it is started, in milliseconds since the beginning. */
  readonly start: number;
}

/** A step and its time, in milliseconds since the start. */
export type Step = { readonly at: number } & Deed;

/** The kinds of steps. Servers, clients, keys and storages are numbered. */
export type Deed =
  | { readonly do: "update" | "invalidate" | "delete"; readonly server: number; readonly key: number }
  | { readonly do: "many"; readonly server: number; readonly keys: readonly number[] }
  | {
    readonly do: "burst";
    readonly what: "update" | "delete";
    readonly servers: readonly number[];
    readonly key: number;
  }
  | {
    readonly do: "reserve" | "publish";
    readonly server: number;
    readonly key: number;
    readonly name: number;
  }
  | { readonly do: "sync"; readonly server: number; readonly client: number; readonly wait: number }
  | { readonly do: "stop" | "kill"; readonly server: number; readonly pause: number }
  | { readonly do: "wipe"; readonly disk: number; readonly pause: number }
  | { readonly do: "cut"; readonly cuts: readonly (readonly [number, number])[] }
  | { readonly do: "mend" }
  | { readonly do: "storm"; readonly faults: NetworkFaults }
  | { readonly do: "calm" }
  | { readonly do: "jump"; readonly server: number; readonly by: number }
  | { readonly do: "redis"; readonly isAway: boolean }
  | { readonly do: "lie"; readonly server: number; readonly lie: Lie; readonly key: number };

/** The messages of the byzantine peer, which has no credentials. */
export type Lie = "push" | "hello" | "callback" | "other" | "replay" | "garbage";

/** A whole history. */
export interface History {
  readonly seed: number;
  readonly servers: readonly ServerPlan[];
  readonly disks: readonly DiskOptions[];
  /** Whether applications update nodes through the outboxes of storages that several processes use. Left out: they do not. */
  readonly outbox?: boolean;
  /** For each server, the servers that it lists in `meshPeers`. */
  readonly peers: readonly (readonly number[])[];
  readonly secret: boolean;
  /** The servers that also use Redis. */
  readonly redis: readonly number[];
  /** Whether there is an `authorize` hook: then some clients may not read every key. */
  readonly rights: boolean;
  /** Whether Web Crypto itself signs. */
  readonly realCrypto: boolean;
  readonly interval: number;
  readonly fanout: number;
  readonly timeout: number;
  /** The body limit of the servers, in bytes. With a low one, deltas have several pages. */
  readonly maxBody: number;
  readonly keys: number;
  /** Whether each client is a plain one, which never sends an epoch. */
  readonly clients: readonly boolean[];
  readonly steps: readonly Step[];
  /** What causes exchanges after the faults: syncs only, or changes of another key as well. */
  readonly healing: "syncs" | "changes";
  /** For each storage, whether the servers on it have the option `groups`; left out: none has it. */
  readonly groups?: readonly boolean[];
  /** Whether storages are replaced so often that old replica ids are forgotten. Left out: they are not. */
  readonly isLong?: boolean;
}

const HOUR = 3_600_000;

/** From this seed on, some histories are wider. Lower seeds create the same histories as before. */
const WIDE_SEEDS = 1_000_000_000;

/** From this seed on, servers have the option `groups`: the histories are those of the seeds below, with a group. */
export const GROUP_SEEDS = 10_000_000_000;

/** From this seed on, storages are replaced so often that old replica ids are forgotten, where the limits are low (`faults.ts`). */
export const LONG_SEEDS = 20_000_000_000;

/** A random history. */
export function createHistory(seed: number): History {
  if (seed >= LONG_SEEDS) {
    return lengthen(createHistory(seed - LONG_SEEDS), new SeededRandom(`long ${seed}`));
  }
  if (seed >= GROUP_SEEDS) {
    return addGroups(createHistory(seed - GROUP_SEEDS), new SeededRandom(`groups ${seed}`));
  }
  if (seed < WIDE_SEEDS) return createPlainHistory(seed);
  const plain = seed - WIDE_SEEDS;
  const random = new SeededRandom(`wide ${plain}`);
  const history = createPlainHistory(plain);
  return random.happens(0.35) ? widen(history, random) : history;
}

/**
 * The option `groups` for all servers, or for those on some storages. Nodes that are published to a storage without a
 * server belong to no commit with a group, so it has no groups. Where some servers have no option, tombstones are kept: no
 * server with the option learns of a deletion whose tombstone is collected before.
 */
function addGroups(history: History, random: SeededRandom): History {
  const isEverywhere = random.happens(0.5);
  const groups = history.disks.map((_, i) => i === 0 || isEverywhere || random.happens(0.5));
  const disks = history.disks.map((disk) => isEverywhere ? disk : { ...disk, tombstoneTimeout: 86_400_000 });
  const steps = history.steps.filter((step) => step.do !== "reserve" && step.do !== "publish");
  return { ...history, groups, disks, steps };
}

/**
 * A longer history, in which storages lose their data again and again: each time one of them has another replica id. In
 * half of them one server is cut off meanwhile, and others delete what it has.
 */
function lengthen(history: History, random: SeededRandom): History {
  const stretch = random.pick([1, 4, 15]);
  const last = Math.max(random.pick([10_000, 60_000]), (history.steps.at(-1)?.at ?? 0) * stretch);
  const servers = history.servers.map((_, server) => server);
  const lonely = random.happens(0.5) ? random.pick(servers) : undefined;
  const disks = history.disks.map((_, disk) => disk);
  const wiped = disks.filter((disk) =>
    (lonely === undefined || history.servers[lonely]!.disk !== disk) && (disk === 0 || random.happens(0.7))
  );
  const more: Step[] = [];
  for (let left = wiped.length > 0 ? random.between(20, 60) : 0; left > 0; left--) {
    more.push({
      at: random.between(0, last),
      do: "wipe",
      disk: random.pick(wiped),
      pause: random.between(0, 800),
    });
  }
  let steps = history.steps.map((step): Step => ({ ...step, at: step.at * stretch }));
  if (lonely !== undefined) {
    const others = servers.filter((server) => server !== lonely);
    const replaced = others.filter((server) => wiped.includes(history.servers[server]!.disk));
    const begin = 1000 + random.between(0, last / 4);
    const keys = Array.from({ length: history.keys }, (_, key) => key);
    // Later changes of these keys, and later deletions, would lead to the same by themselves.
    const deleted = random.shuffle([...keys]).slice(0, random.between(1, keys.length));
    steps = steps.filter((step) =>
      step.at < begin || step.do === "sync" || step.do === "stop" || step.do === "kill"
    );
    more.push({ at: begin - 500, do: "many", server: lonely, keys });
    more.push({
      at: begin,
      do: "cut",
      cuts: others.flatMap((server) => [[server, lonely], [lonely, server]] as const),
    });
    for (const key of deleted) {
      if (replaced.length === 0) break;
      more.push({
        at: begin + random.between(0, last / 8),
        do: "delete",
        server: random.pick(replaced),
        key,
      });
    }
  }
  // Where some servers have no groups, tombstones are kept, as in `addGroups()`.
  const isShort = random.happens(0.7) && !history.groups?.includes(false);
  // A low limit must have room for version vectors of many replicas.
  const maxBody = history.maxBody < 10_000 ? history.maxBody + 2_500 : history.maxBody;
  return {
    ...history,
    isLong: true,
    // Replicas are forgotten in exchanges, for which a quiet history has no other reason.
    interval: lonely === undefined ? history.interval : 500,
    maxBody,
    disks: history.disks.map((disk) =>
      isShort ? { ...disk, tombstoneTimeout: random.pick([0, 300, 1500, 4000]) } : disk
    ),
    steps: [...steps, ...more].sort((a, b) => a.at - b.at),
  };
}

/**
 * More cases with collected tombstones: storages that keep them for different times, longer histories, messages that take
 * longer than tombstones are kept, and keys that are deleted and created repeatedly.
 */
function widen(history: History, random: SeededRandom): History {
  const stretch = random.pick([1, 1, 4, 15]);
  const straggle = random.pick([0, 2500, 6000, 12_000]);
  const last = (history.steps.at(-1)?.at ?? 0) * stretch;
  const more: Step[] = [];
  for (let left = random.between(0, 8); left > 0; left--) {
    const key = random.between(0, history.keys - 1);
    const server = () => random.between(0, history.servers.length - 1);
    const at = random.between(0, last);
    more.push({ at, do: "delete", server: server(), key });
    if (random.happens(0.6)) {
      more.push({ at: at + random.between(1, 5000), do: "update", server: server(), key });
    }
  }
  const straggling = { straggling: 0.05 + random.next() * 0.25, straggle };
  if (straggle > 0) {
    more.push({ at: random.between(0, last), do: "storm", faults: { ...CALM, ...straggling } });
  }
  const steps = history.steps.map((step): Step => {
    const at = step.at * stretch;
    if (step.do !== "storm" || straggle === 0) return { ...step, at };
    return { ...step, at, faults: { ...step.faults, ...straggling } };
  });
  return {
    ...history,
    disks: history.disks.map((disk) => ({
      ...disk,
      tombstoneTimeout: random.pick([0, 50, 300, 1500, 4000, 86_400_000]),
    })),
    steps: [...steps, ...more].sort((a, b) => a.at - b.at),
  };
}

function createPlainHistory(seed: number): History {
  const random = new SeededRandom(`history ${seed}`);
  const count = random.happens(0.04) ? random.between(6, 9) : random.pick([2, 2, 3, 3, 3, 4, 5]);
  const disks: DiskOptions[] = [];
  const isSlow = random.happens(0.5);
  const sweeps = random.happens(0.35);
  const addDisk = (): number =>
    disks.push({
      tombstoneTimeout: sweeps ? random.pick([0, 300, 1500, 4000]) : 86_400_000,
      exclusive: true,
      slowness: isSlow ? random.pick([0, 0.2, 0.5]) : 0,
      slowest: random.pick([5, 40, 200]),
    }) - 1;
  const isSkewed = random.happens(0.5);
  const isStaggered = random.happens(0.5);
  const shares = random.happens(0.4);
  const servers = Array.from({ length: count }, (_, i): ServerPlan => ({
    disk: i > 0 && shares && random.happens(0.4) ? random.between(0, disks.length - 1) : addDisk(),
    skew: isSkewed && random.happens(0.5) ? random.between(-5 * HOUR, 5 * HOUR) : random.between(-20, 20),
    start: isStaggered && random.happens(0.6) ? random.between(0, 1500) : 0,
  }));
  servers.forEach(({ disk }, i) => {
    if (servers.some((other, j) => i !== j && other.disk === disk)) {
      disks[disk] = { ...disks[disk]!, exclusive: false };
    }
  });
  const all = servers.map((_, i) => i);
  // Some clusters are rings or lines, in which updates are forwarded by other servers.
  const isSparse = count > 2 && random.happens(0.25);
  const isRing = random.happens(0.5);
  const world = {
    seed,
    servers,
    disks,
    clients: Array.from({ length: random.between(1, 4) }, (_, i) => i === 1),
  };
  // A separate generator, so that the histories of earlier seeds stay the same.
  const more = new SeededRandom(`more ${seed}`);
  const redis = more.happens(0.35) ? all.filter(() => more.happens(0.9)) : [];
  const isPaged = random.happens(0.2);
  const keys = isPaged ? 8 : random.pick([1, 1, 2, 3, 5]);
  return {
    ...world,
    peers: all.map((i) =>
      all.filter((j) =>
        i !== j && (!isSparse || Math.abs(i - j) === 1 || isRing && Math.abs(i - j) === count - 1)
      )
    ),
    secret: random.happens(0.4),
    redis,
    rights: more.happens(0.3),
    realCrypto: random.happens(0.01),
    interval: random.happens(0.2) ? random.pick([500, 3000]) : 0,
    fanout: random.happens(0.3) ? random.between(1, 2) : 8,
    timeout: random.pick([300, 1000, 2000]),
    maxBody: isPaged ? 1000 + 150 * count : 1_048_576,
    keys,
    steps: addOutages(more, createSteps(random, world, keys, isPaged), redis.length > 0),
    healing: random.happens(0.5) ? "syncs" : "changes",
  };
}

function createSteps(
  random: SeededRandom,
  { servers, disks, clients }: Pick<History, "servers" | "disks" | "clients">,
  keys: number,
  isPaged: boolean,
): Step[] {
  const steps: Step[] = [];
  const pace = random.pick([5, 60, 60, 250]);
  const isRough = random.happens(0.7);
  const lies = random.happens(0.3);
  const deletions = random.pick([0.15, 0.15, 0.5]);
  const reserved: { server: number; key: number; name: number }[] = [];
  const server = () => random.between(0, servers.length - 1);
  const key = () => random.between(0, keys - 1);
  const others = servers.map((_, i) => i);
  let at = 0;
  if (random.happens(0.3)) steps.push({ at, do: "storm", faults: createFaults(random) });
  const length = random.between(5, 40);
  for (let i = 0; i < length; i++) {
    at += random.happens(0.15) ? 0 : Math.ceil(-Math.log(1 - random.next()) * pace);
    const dice = random.next() * (isRough ? 1 : 0.78);
    if (dice < 0.33) {
      const kind = random.next();
      if (kind < deletions) steps.push({ at, do: "delete", server: server(), key: key() });
      else if (kind < deletions + 0.1) steps.push({ at, do: "invalidate", server: server(), key: key() });
      else steps.push({ at, do: "update", server: server(), key: key() });
    } else if (dice < (isPaged ? 0.42 : 0.36)) {
      const some = Array.from({ length: keys }, (_, k) => k).filter(() => isPaged || random.happens(0.6));
      steps.push({ at, do: "many", server: server(), keys: some });
    } else if (dice < 0.42) {
      const several = random.shuffle(others).slice(0, random.between(2, 4));
      const what = random.happens(deletions) ? "delete" : "update";
      steps.push({ at, do: "burst", what, servers: several, key: key() });
    } else if (dice < 0.45) {
      const { server: by, key: of, name } = { server: server(), key: key(), name: i };
      reserved.push({ server: by, key: of, name });
      steps.push({ at, do: "reserve", server: by, key: of, name });
    } else if (dice < 0.48 && reserved.length > 0) {
      steps.push({ at, do: "publish", ...reserved.splice(random.between(0, reserved.length - 1), 1)[0]! });
    } else if (dice < 0.76) {
      const wait = random.happens(0.3) ? random.pick([1000, 8000, 20_000]) : 0;
      steps.push({ at, do: "sync", server: server(), client: random.between(0, clients.length - 1), wait });
    } else if (dice < 0.78) {
      for (let i = 0; lies && i < 3; i++) {
        const lie = random.pick<Lie>(["push", "hello", "callback", "other", "replay", "garbage"]);
        steps.push({ at, do: "lie", server: server(), lie, key: key() });
      }
    } else if (dice < 0.83) {
      const does = random.pick(["stop", "kill", "kill"] as const);
      steps.push({ at, do: does, server: server(), pause: random.between(0, 1500) });
    } else if (dice < 0.85) {
      steps.push({
        at,
        do: "wipe",
        disk: random.between(0, disks.length - 1),
        pause: random.between(0, 1500),
      });
    } else if (dice < 0.9) steps.push({ at, do: "cut", cuts: createCuts(random, servers.length) });
    else if (dice < 0.93) steps.push({ at, do: "mend" });
    else if (dice < 0.96) steps.push({ at, do: "storm", faults: createFaults(random) });
    else if (dice < 0.98) steps.push({ at, do: "calm" });
    else steps.push({ at, do: "jump", server: server(), by: random.between(-2 * HOUR, 2 * HOUR) });
  }
  for (const { server, key, name } of reserved) {
    if (random.happens(0.5)) {
      steps.push({ at: at + random.between(1, 300), do: "publish", server, key, name });
    }
  }
  return steps;
}

/** Adds outages of Redis, if there is one. */
function addOutages(random: SeededRandom, steps: readonly Step[], hasRedis: boolean): Step[] {
  const outages: Step[] = [];
  const last = steps.at(-1)?.at ?? 0;
  for (let left = hasRedis ? random.between(0, 2) : 0; left > 0; left--) {
    const at = random.between(0, last);
    outages.push({ at, do: "redis", isAway: true });
    outages.push({ at: at + random.between(1, 3000), do: "redis", isAway: false });
  }
  return [...steps, ...outages];
}

function createFaults(random: SeededRandom): NetworkFaults {
  const some = (most: number) => random.happens(0.5) ? random.next() * most : 0;
  return {
    ...CALM,
    requestLoss: some(0.5),
    answerLoss: some(0.5),
    duplication: some(0.5),
    delay: [1, random.pick([3, 30, 300])],
    straggling: some(0.3),
    straggle: random.pick([200, 2500]),
  };
}

/** Partitions the servers in both directions or in one. */
function createCuts(random: SeededRandom, count: number): [number, number][] {
  const side = Array.from({ length: count }, () => random.happens(0.5));
  const isOneWay = random.happens(0.35);
  const cuts: [number, number][] = [];
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      if (side[i] !== side[j] && (!isOneWay || side[i])) cuts.push([i, j]);
    }
  }
  return cuts;
}

/**
 * Reduces a history while it still fails: leaves out steps, then faults.
 *
 * @param history One that fails.
 * @param fails Runs a history and says whether it still fails.
 * @param budget How many histories are tried at most.
 */
export async function shrink(
  history: History,
  fails: (history: History) => Promise<boolean>,
  budget: number,
): Promise<History> {
  let left = budget;
  const holds = async (smaller: History): Promise<boolean> => {
    if (left <= 0) return false;
    left--;
    if (!await fails(smaller)) return false;
    history = smaller;
    return true;
  };
  for (let before = -1; before !== size(history) && left > 0;) {
    before = size(history);
    for (let chunk = Math.ceil(history.steps.length / 2); chunk >= 1; chunk = Math.floor(chunk / 2)) {
      for (let from = history.steps.length - chunk; from >= 0; from -= chunk) {
        const steps = history.steps.filter((_, i) => i < from || i >= from + chunk);
        await holds({ ...history, steps });
      }
    }
    for (const simpler of simplify(history)) await holds({ ...history, ...simpler });
    await dropServers(history, holds);
  }
  return history;
}

function size({ steps, servers }: History): number {
  return steps.length + servers.length;
}

function* simplify(
  { servers, disks, fanout, interval, secret, redis, rights, realCrypto, maxBody, healing }: History,
): Iterable<
  Partial<History>
> {
  if (servers.some(({ skew, start }) => skew !== 0 || start !== 0)) {
    yield { servers: servers.map(({ disk }) => ({ disk, skew: 0, start: 0 })) };
  }
  if (disks.some(({ slowness }) => slowness > 0)) yield { disks: disks.map((d) => ({ ...d, slowness: 0 })) };
  if (disks.some(({ tombstoneTimeout }) => tombstoneTimeout < 86_400_000)) {
    yield { disks: disks.map((disk) => ({ ...disk, tombstoneTimeout: 86_400_000 })) };
  }
  if (realCrypto) yield { realCrypto: false };
  if (secret) yield { secret: false };
  if (redis.length > 0) yield { redis: [] };
  if (rights) yield { rights: false };
  if (interval !== 0) yield { interval: 0 };
  if (fanout !== 8) yield { fanout: 8 };
  if (maxBody < 1_048_576) yield { maxBody: 1_048_576 };
  if (healing !== "syncs") yield { healing: "syncs" };
}

/** Leaves out servers without a step, the last ones first, so that the others keep their numbers. */
async function dropServers(
  history: History,
  holds: (smaller: History) => Promise<boolean>,
): Promise<void> {
  for (let last = history.servers.length - 1; last >= 1; last--) {
    const names = (step: Step) => "server" in step ? [step.server] : "servers" in step ? step.servers : [];
    const steps = history.steps.map((step): Step =>
      step.do === "cut" ? { ...step, cuts: step.cuts.filter((cut) => !cut.includes(last)) } : step
    ).filter((step) => !names(step).includes(last));
    const smaller: History = {
      ...history,
      steps,
      servers: history.servers.slice(0, last),
      redis: history.redis.filter((server) => server < last),
      peers: history.peers.slice(0, last).map((list) => list.filter((peer) => peer !== last)),
    };
    if (!await holds(smaller)) break;
    history = smaller;
  }
}

/** Describes a history, one line for each step. */
export function describeHistory(history: History): string {
  const { seed, servers, disks, peers, steps, ...rest } = history;
  const lines = [`seed ${seed}: ${JSON.stringify(rest)}`];
  servers.forEach((server, i) =>
    lines.push(`  server ${i}: ${JSON.stringify({ ...server, peers: peers[i] })}`)
  );
  disks.forEach((disk, i) => lines.push(`  disk ${i}: ${JSON.stringify(disk)}`));
  for (const { at, ...deed } of steps) lines.push(`  ${String(at).padStart(6)} ms  ${JSON.stringify(deed)}`);
  return lines.join("\n");
}
