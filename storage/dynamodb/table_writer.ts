/**
 * Commits to a DynamoDB table. Commits are made one after the other. Processes that meet take turns.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import { createReplicaId } from "../../src/store/contract.ts";
import { checkCounter } from "../validate.ts";
import type { ServiceClock } from "./service_clock.ts";
import { type Call, nameOf } from "./call.ts";
import type { Fields } from "./client.ts";
import { parseItems } from "./table_queries.ts";
import type { TableReader } from "./table_reader.ts";
import { isCollected } from "./expiry.ts";
import { type Draft, nextState, trimCommits } from "./next_state.ts";
import type { State } from "./state.ts";
import type { NewNode, StoredNode } from "./stored_node.ts";
import { formatNode, formatState, type Item, parseState, STATE_KEY } from "./table.ts";

/** How long other processes wait for the one whose turn it is, in milliseconds. It may have died. */
const TURN_TIMEOUT = 1000;
/** How long a process asks for its turn before each commit after it met another process, in milliseconds. */
const CONTENTION_TIME = 500;
/** The reasons for which a cancelled transaction may succeed at the next attempt. */
const RETRYABLE: ReadonlySet<string> = new Set([
  "ConditionalCheckFailed",
  "ProvisionedThroughputExceeded",
  "ThrottlingError",
  "TransactionConflict",
]);

/** Returns the state from which a commit starts, and what it changes; `undefined` if nothing. */
export type Plan = () => Promise<readonly [State, Draft | undefined]>;

/** Writes to a table. */
export class TableWriter {
  readonly #reader: TableReader;
  readonly #tableName: string;
  readonly #clock: ServiceClock;
  readonly #now: () => number;
  /** The commits of one process wait for each other. Otherwise they would cancel each other. */
  #queue: Promise<unknown> = Promise.resolve();
  /** The name that the counter's item contains when it is this storage's turn. */
  #ownName = "";
  /** When another process last made a commit of this one fail, by `performance.now()`. */
  #contendedAt = -Infinity;
  /** The process that this one waits for, and since when, by `performance.now()`. */
  #yieldedTo: { readonly turn: string; readonly revision: number; readonly since: number } | undefined;

  /**
   * @param reader Reads the same table, and remembers the latest state.
   * @param tableName The table's name, or its ARN.
   * @param clocks `clock` tells which tombstones may be collected, `now` is the time by which changes are numbered.
   */
  constructor(
    reader: TableReader,
    tableName: string,
    { clock, now }: { readonly clock: ServiceClock; readonly now: () => number },
  ) {
    this.#reader = reader;
    this.#tableName = tableName;
    this.#clock = clock;
    this.#now = now;
  }

  /**
   * Writes the nodes of a plan together with the counter's item. If another process has changed that item since the
   * plan read it, plans again.
   *
   * @param plan Returns the state that the commit starts from, and what it changes.
   * @returns The nodes as written.
   */
  async commit(call: Call, plan: Plan): Promise<readonly NewNode[]> {
    const commit = this.#queue.then(async () => {
      try {
        return await this.#tryCommit(call, plan);
      } finally {
        // Nothing was written. Give the turn back, or the other processes wait until it times out.
        if (this.#reader.last?.turn === this.#name) await this.#leaveTurn(call).catch(() => {});
      }
    });
    this.#queue = commit.catch(() => {});
    return await call.join(commit);
  }

  async #tryCommit(call: Call, plan: Plan): Promise<readonly NewNode[]> {
    // While other processes write, asking for the turn costs less than a transaction that fails.
    if (performance.now() - this.#contendedAt < CONTENTION_TIME) await this.#takeTurn(call);
    for (let attempt = 0;; attempt++) {
      call.check();
      const [state, draft] = await plan();
      if (draft === undefined) return [];
      const next = await this.#settle(call, nextState(state, draft, this.#clock.early));
      const outcome = await this.#transact(call, state, next);
      if (outcome === "done") return draft.nodes;
      if (outcome === "busy") {
        await call.pause(attempt);
        continue;
      }
      this.#contendedAt = performance.now();
      // After the first failure the remembered state is up to date. Another failure means that other processes write.
      if (outcome === "contended" || attempt > 0) await this.#takeTurn(call);
    }
  }

  /**
   * Puts the name of this process into the counter's item. All commits of other processes then fail until this process
   * has committed, or until its turn times out. Without this, a process that commits without a pause would always be
   * faster than a process that first has to read the counter's item.
   */
  async #takeTurn(call: Call): Promise<void> {
    while (true) {
      const state = await this.#reader.readState(call);
      if (state.turn === this.#name) return;
      if (state.turn !== undefined) this.#contendedAt = performance.now();
      // Between two transactions the item can be written for a short time only. Do not read it again first.
      while (this.#mayCommit(state)) {
        const outcome = await this.#update(call, "SET #turn = :name", "attribute_exists(#bucket)", {
          names: ["bucket"],
          values: { ":name": { S: this.#name } },
          turn: state.turn,
        });
        if (outcome === "outdated") break;
        if (outcome !== "contended") return;
        await call.pause(0);
      }
      await call.pause(0);
    }
  }

  async #leaveTurn(call: Call): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const turn = this.#name;
      const more = { names: ["bucket"], values: {}, turn };
      if (await this.#update(call, "REMOVE #turn", "attribute_exists(#bucket)", more) !== "contended") return;
      await call.pause(0);
    }
  }

  /** Whether it is no other process's turn. A turn ends after a second, since the process may have died. */
  #mayCommit({ turn, revision }: State): boolean {
    if (turn === undefined || turn === this.#name) return true;
    if (this.#yieldedTo?.turn !== turn || this.#yieldedTo.revision !== revision) {
      this.#yieldedTo = { turn, revision, since: performance.now() };
    }
    return performance.now() - this.#yieldedTo.since >= TURN_TIMEOUT;
  }

  /** The state to be written, without commits whose rows are all visible. */
  async #settle(call: Call, state: State): Promise<State> {
    const isSettled = (revision: number) => this.#reader.settled.has(revision);
    const [trimmed, unsettled] = trimCommits(state, isSettled);
    if (unsettled.length === 0) return trimmed;
    // Other processes wrote these commits. Only their rows tell whether the transactions are complete.
    const written = unsettled.flatMap(({ nodes }) => nodes);
    for (let attempt = 0;; attempt++) {
      const rows = new Map(
        (await this.#reader.queries.readRows(call, written.map(({ key }) => key))).map((
          row,
        ) => [row.key, row]),
      );
      const now = this.#clock.early;
      const isVisible = (node: StoredNode) =>
        (rows.get(node.key)?.revision ?? 0) >= node.revision || isCollected(node, state, now);
      if (written.every(isVisible)) break;
      await call.pause(attempt);
    }
    for (const { revision } of unsettled) this.#reader.settled.add(revision);
    return trimCommits(state, isSettled)[0];
  }

  /** Moves the table from one state to the next with one transaction. Returns the outcome. */
  async #transact(
    call: Call,
    state: State,
    next: State,
  ): Promise<"done" | "outdated" | "contended" | "busy"> {
    const TableName = this.#tableName;
    const nodes = next.commits.at(-1)?.nodes ?? [];
    const counter: Fields = {
      TableName,
      Item: formatState(next),
      ConditionExpression: "#epoch = :epoch AND #revision = :revision AND #counter = :counter " +
        "AND (attribute_not_exists(#turn) OR #turn = :name)",
      ExpressionAttributeNames: toNames(["epoch", "revision", "counter", "turn"]),
      ExpressionAttributeValues: {
        ":epoch": { S: state.epoch },
        ":revision": { N: String(state.revision) },
        ":counter": { N: String(state.counter) },
        ":name": { S: this.#name },
      },
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
    };
    const input: Fields = {
      // With the token, a request that is sent again after a lost response does not write twice.
      ClientRequestToken: crypto.randomUUID(),
      TransactItems: [
        { Put: counter },
        ...nodes.map((node) => ({ Put: { TableName, Item: formatNode(node) } })),
      ],
    };
    try {
      await call.request("transactWriteItems", input, ["TransactionCanceledException"]);
    } catch (error) {
      if (nameOf(error) !== "TransactionCanceledException") throw error;
      return this.#readCancellation(call, error as Error, state);
    }
    this.#reader.remember(next);
    this.#reader.settled.add(next.revision);
    return "done";
  }

  /** Why a transaction was cancelled. Throws if another attempt would fail as well. */
  #readCancellation(
    call: Call,
    error: Error & { CancellationReasons?: unknown },
    before: State,
  ): "outdated" | "contended" | "busy" {
    const reasons = (error.CancellationReasons ?? []) as readonly { Code?: string; Item?: Item }[];
    const codes = reasons.map(({ Code }) => Code ?? "None").filter((code) => code !== "None");
    if (codes.length === 0 || codes.some((code) => !RETRYABLE.has(code))) {
      throw new StorageError(
        call.operation,
        new Error(`${error.message} ${[...new Set(codes)].join(", ")}`, { cause: error }),
      );
    }
    if (codes.includes("ConditionalCheckFailed")) {
      const item = reasons[0]?.Item;
      if (item?.epoch) this.#reader.remember(parseItems(call, () => parseState(item)), before);
      else this.#reader.forget();
      return "outdated";
    }
    return codes.includes("TransactionConflict") ? "contended" : "busy";
  }

  /**
   * Reserves the next version.
   *
   * @param next The number that follows on a state.
   * @throws {RangeError} When the counter has reached its end.
   */
  async increment(call: Call, next: (state: State) => number): Promise<number> {
    let state = this.#reader.last ?? await this.#reader.readState(call);
    while (true) {
      const outcome = this.#mayCommit(state)
        ? await this.#tryIncrement(call, state, next(state))
        : "contended";
      if (typeof outcome === "number") return outcome;
      if (outcome === "contended") await call.pause(0);
      state = await this.#reader.readState(call);
    }
  }

  /** Moves the counter to a version if it is below, and if the residue is still the same. */
  async #tryIncrement(
    call: Call,
    { drawn, turn }: State,
    version: number,
  ): Promise<number | "outdated" | "contended"> {
    checkCounter(version);
    const outcome = await this.#update(
      call,
      "SET #counter = :version",
      "#counter < :version AND " + (drawn === 0 ? "attribute_not_exists(#drawn)" : "#drawn = :drawn"),
      {
        names: ["counter", "drawn"],
        values: { ":version": { N: `${version}` }, ...(drawn === 0 ? {} : { ":drawn": { N: `${drawn}` } }) },
        turn,
      },
    );
    return typeof outcome === "string" ? outcome : version;
  }

  /** Changes the counter's item without a transaction. Returns the new state, or why nothing was changed. */
  async #update(
    call: Call,
    change: string,
    condition: string,
    more: { readonly names: readonly string[]; readonly values: Item; readonly turn: string | undefined },
  ): Promise<State | "outdated" | "contended"> {
    try {
      const { Attributes } = await call.request("updateItem", {
        TableName: this.#tableName,
        Key: STATE_KEY,
        UpdateExpression: change,
        ConditionExpression: `${condition} AND (attribute_not_exists(#turn) OR #turn = :turn)`,
        ExpressionAttributeNames: toNames([...more.names, "turn"]),
        ExpressionAttributeValues: { ...more.values, ":turn": { S: more.turn ?? this.#name } },
        ReturnValues: "ALL_NEW",
      }, ["ConditionalCheckFailedException", "TransactionConflictException"]);
      return this.#reader.remember(parseItems(call, () => parseState(Attributes as Item)));
    } catch (error) {
      if (nameOf(error) === "ConditionalCheckFailedException") return "outdated";
      if (nameOf(error) === "TransactionConflictException") return "contended";
      throw error;
    }
  }

  /** The name is made at the first use: a Worker must not use random numbers while it starts. */
  get #name(): string {
    return this.#ownName ||= createReplicaId();
  }
}

/** Placeholders for the names in an expression. Many names are reserved words of DynamoDB. */
function toNames(names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(names.map((name) => [`#${name}`, name]));
}
