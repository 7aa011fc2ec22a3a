/**
 * Transactions as real DynamoDB shows them: checked and locked all at once, then visible item by item, in any
 * order, while others read and write. DynamoDB Local makes a transaction visible as a whole, so this carries out
 * its items one by one.
 *
 * @module
 */
import { type Between, errorOf } from "./kit.ts";

/** One write of a transaction. */
interface Put {
  readonly TableName: string;
  readonly Item: Readonly<Record<string, { readonly S?: string; readonly N?: string }>>;
  readonly ConditionExpression?: string;
  readonly ExpressionAttributeValues?: Readonly<Record<string, { readonly S?: string; readonly N?: string }>>;
}

/** Says in which order the items of a transaction become visible; the first of those given is the counter's. */
export type Order = (count: number) => number[];

/** A service that all storages of a test share, each through `between`. */
export class TornService {
  /** Items of transactions under way, and those that a single write is on its way to. */
  readonly #locked = new Map<string, object>();
  readonly #order: Order;
  readonly #step: (visible: number) => Promise<void>;

  /**
   * @param order In which order items become visible.
   * @param step Waited for before each item, with the number of those that are visible.
   */
  constructor(order: Order, step: (visible: number) => Promise<void>) {
    this.#order = order;
    this.#step = step;
  }

  /** Comes between a storage and its client. */
  readonly between: Between = async (name, input, ask) => {
    if (name === "updateItem") {
      const { TableName, Key } = input as { TableName: string; Key: Put["Item"] };
      return await this.#whileLocked(
        [nameOf(TableName, Key)],
        () => ask(),
        () => errorOf("TransactionConflictException"),
      );
    }
    if (name !== "transactWriteItems") return await ask();
    const { TransactItems } = input as { TransactItems: { Put: Put }[] };
    const puts = TransactItems.map(({ Put }) => Put);
    const names = puts.map(({ TableName, Item }) => nameOf(TableName, Item));
    const work = async (unlock: (name: string) => void) => {
      // Refused before anything is visible, as a transaction is: the counter's condition is the only one.
      const counter = puts[0];
      await ask({
        TransactItems: [{ ConditionCheck: { ...counter, Item: undefined, Key: keyOf(counter) } }],
      });
      let visible = 0;
      for (const place of this.#order(puts.length)) {
        await this.#step(visible++);
        const { TableName, Item } = puts[place] as Put;
        await ask({ TransactItems: [{ Put: { TableName, Item } }] });
        unlock(names[place] ?? "");
      }
      return {};
    };
    return await this.#whileLocked(names, work, () => {
      const Code = (name: string) => this.#locked.has(name) ? "TransactionConflict" : "None";
      const CancellationReasons = names.map((name) => ({ Code: Code(name) }));
      return errorOf("TransactionCanceledException", { CancellationReasons });
    });
  };

  async #whileLocked(
    names: readonly string[],
    work: (unlock: (name: string) => void) => Promise<object>,
    conflict: () => Error,
  ): Promise<object> {
    if (names.some((name) => this.#locked.has(name))) throw conflict();
    const owner = {};
    const unlock = (name: string) => {
      if (this.#locked.get(name) === owner) this.#locked.delete(name);
    };
    for (const name of names) this.#locked.set(name, owner);
    try {
      return await work(unlock);
    } finally {
      names.forEach(unlock);
    }
  }
}

function keyOf(put: Put | undefined): Put["Item"] {
  const { bucket = {}, node_key = {} } = put?.Item ?? {};
  return { bucket, node_key };
}

function nameOf(table: string, { bucket, node_key }: Put["Item"]): string {
  return JSON.stringify([table, bucket?.S, node_key?.S]);
}
