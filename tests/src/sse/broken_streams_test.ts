/**
 * Clients like `EventSource` whose streams break at random places, on servers that share a storage: in the end each has
 * been sent the newest state of all keys that it follows.
 *
 * @module
 */
import { deepEqual } from "node:assert/strict";
import type { Authorize } from "../../../src/options.ts";
import { RealityServer } from "../../../src/server.ts";
import type { MeshStorage } from "../../../src/store/contract.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";
import { HistoryStorage } from "../../storages.ts";

const KEYS = ["a", "b", "c", "d", "e"];
const HISTORIES = 400;

/** What a page has received, and the id that its next request has. */
class Page {
  keys: readonly string[] = [];
  readonly held = new Map<string, number>();
  #id: string | undefined;

  /** Opens a stream and reads some parts of it, the last of them up to a random place. */
  async visit(server: RealityServer, random: SeededRandom, change: () => Promise<string>): Promise<void> {
    const reader = await this.#open(server);
    const parts = random.between(1, 3);
    for (let i = 1; i <= parts; i++) {
      const { value = "" } = await reader.read();
      this.#take(i < parts ? value : value.slice(0, random.between(0, value.length)));
      if (i === parts) break;
      // Without a change there is nothing to read.
      let changed: string;
      do changed = await change(); while (!this.keys.includes(changed));
    }
    await reader.cancel();
  }

  /** Opens a stream and reads its first part to the end. */
  async settle(server: RealityServer): Promise<Record<string, number>> {
    const reader = await this.#open(server);
    this.#take((await reader.read()).value ?? "");
    await reader.cancel();
    return Object.fromEntries(this.keys.map((key) => [key, this.held.get(key) ?? 0]));
  }

  async #open(server: RealityServer): Promise<ReadableStreamDefaultReader<string>> {
    const headers = this.#id === undefined ? {} : { "last-event-id": this.#id };
    const request = new Request("http://localhost/events", { headers });
    const response = await server.handleSSECompat(request, { keys: this.keys });
    return response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Takes the blocks that have arrived completely. */
  #take(text: string): void {
    for (const block of text.split("\n\n").slice(0, -1)) {
      const fields = new Map(block.split("\n").map((line) => line.split(/: (.*)/s) as [string, string]));
      this.#id = fields.get("id") ?? this.#id;
      if (fields.get("event") !== "update") continue;
      const { key, version } = JSON.parse(fields.get("data") ?? "");
      this.held.set(key, version);
    }
  }
}

const storages: Record<string, () => MeshStorage> = {
  "a storage in memory": () => new MemoryStorage(),
  "a storage behind a cached reader": () => new HistoryStorage(),
};

const cases = Object.entries(storages).flatMap(([name, create]) => [
  { name, create, hasRights: false },
  { name: `${name}, with rights that come and go`, create, hasRights: true },
]);

for (const { name, create, hasRights } of cases) {
  test(`a client whose streams break anywhere misses nothing, on ${name}`, async () => {
    const seed = crypto.randomUUID();
    for (let history = 0; history < HISTORIES; history++) {
      const random = new SeededRandom(`${seed}/${history}`);
      const storage = create();
      const hidden = new Set<string>();
      const authorize: Authorize = (_, keys) => keys.filter((key) => !hidden.has(key));
      const options = hasRights ? { storage, authorize } : { storage };
      const servers = [new RealityServer(options), new RealityServer(options)];
      /** Returns the key if a client that may read it has to be told a new version now. */
      const change = async () => {
        const key = random.pick(KEYS);
        const server = random.pick(servers);
        if (hasRights && random.happens(0.4)) {
          const keys = random.shuffle(KEYS).slice(0, random.between(1, KEYS.length));
          const isWithdrawal = random.happens(0.5);
          for (const each of keys) isWithdrawal ? hidden.add(each) : hidden.delete(each);
          server.recheck(keys);
          return "";
        }
        const isDeletion = random.happens(0.4);
        await (isDeletion ? server.deleteNode(key) : server.updateNode(key, `${random.next()}`));
        return isDeletion || hidden.has(key) ? "" : key;
      };
      for (let i = random.between(0, 10); i > 0; i--) await change();
      const page = new Page();
      for (let step = random.between(1, 6); step > 0; step--) {
        if (page.keys.length === 0 || random.happens(0.2)) {
          page.keys = random.shuffle(KEYS).slice(0, random.between(1, KEYS.length));
        }
        for (let i = random.between(0, 3); i > 0; i--) await change();
        await page.visit(random.pick(servers), random, change);
      }
      for (let i = random.between(0, 3); i > 0; i--) await change();
      hidden.clear();
      const received = await page.settle(random.pick(servers));
      const expected: Record<string, number> = {};
      for (const key of page.keys) expected[key] = (await servers[0]!.getNode(key))?.version ?? 0;
      deepEqual(received, expected, `history ${history} of seed ${seed}`);
      await Promise.all(servers.map((server) => server.close()));
    }
  });
}
