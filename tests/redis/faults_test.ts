/**
 * The relay while its Redis is killed, restarted, or does not answer.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { Link } from "../cluster/link.ts";
import { redisRecipe } from "../run/redis.ts";
import { PrivateServer } from "../run/server.ts";
import { testOnEngine } from "../storage/engines.ts";
import { episodes, newChannel, Party } from "./kit.ts";
import { type Clients, libraries, type Library } from "./libraries.ts";

for (const library of libraries) {
  testOnEngine(
    `Redis that is killed is missed once, and used once it is back, with ${library.name}`,
    async () => {
      await withServer(library, 1, async (server, a, b) => {
        a.tell("before");
        await b.hears("before");
        const looks = [a.looks, b.looks];

        // node-redis 5 never connects again when it is told something in the very moment that it loses a connection.
        const lost = [a, b].flatMap(({ clients }) => [clients.publisher, clients.subscriber]).map((client) =>
          new Promise<void>((resolve) => client.on("reconnecting", () => resolve()))
        );
        await server.crash();
        await Promise.all(lost);
        for (const party of [a, b]) {
          await party.until(() => party.reports.length > 0, "the report that Redis is gone");
          assert.equal(party.relay.healthy, false);
        }
        // Only the fact that there was something is kept.
        for (let i = 0; i < 10_000; i++) a.tell("x");

        await server.restart();
        for (const [i, party] of [a, b].entries()) {
          await party.until(
            () => party.relay.healthy && episodes(party) === "down up",
            "the report that it is back",
          );
          await party.until(() => party.looks > looks[i]!, "a look at everything");
        }
        a.tell("after from a");
        await b.until(() => b.received.at(-1)?.endsWith("after from a") === true, "what a says after it");
        b.tell("after from b");
        await a.hears("after from b");
        assert.deepEqual([episodes(a), episodes(b)], ["down up", "down up"]);
      });
    },
  );

  testOnEngine(
    `a Redis that does not answer is reported once, and its recovery as well, with ${library.name}`,
    async () => {
      await withServer(library, 4, async (server, a, b) => {
        const admin = new Redis(server.address);
        try {
          await admin.call("CLIENT", "PAUSE", "60000", "WRITE");
          a.tell("first");
          await a.until(() => a.reports.length > 0, "the report that Redis does not answer");
          a.tell("second");
          a.tell("third");
          assert.deepEqual([episodes(a), a.relay.healthy, b.received], ["down", false, []]);
          await admin.call("CLIENT", "UNPAUSE");
          await a.until(() => a.relay.healthy, "the answer");
          await b.hears("second+third");
          assert.deepEqual(b.received, ["first", "second+third"]);
          assert.equal(episodes(a), "down up");
        } finally {
          admin.disconnect();
        }
      });
    },
  );

  testOnEngine(`a silent connection that was not closed is reported, with ${library.name}`, async () => {
    const server = await PrivateServer.start(redisRecipe());
    const line = await Link.open(Number(new URL(server.address).port));
    const [near, far] = [
      await library.open(server.address),
      await library.open(`redis://127.0.0.1:${line.port}`),
    ];
    const clients: Clients = {
      ...far,
      publisher: near.publisher,
      connect: async () => void await Promise.all([near.connect(), far.connect()]),
      end: async () => void await Promise.all([near.end(), far.end()]),
    };
    const open = () => Promise.resolve(clients);
    const a = await Party.create({ name: library.name, open }, server.address, newChannel(), 4);
    try {
      await a.connect();
      const looks = a.looks;
      line.trouble = "silent";
      a.tell("said into the void");
      await a.until(() => a.reports.length > 0, "the report that nothing is heard");
      assert.match(a.reports[0]!.message, /has not heard in 2000 ms what was published$/);
      line.trouble = undefined;
      await a.until(() => a.relay.healthy && a.looks > looks, "a connection that is well");
      assert.equal(episodes(a), "down up");
    } finally {
      await a.end();
      await line.close();
      await server.stop();
    }
  });
}

async function withServer(
  library: Library,
  speed: number,
  play: (server: PrivateServer, a: Party, b: Party) => Promise<void>,
): Promise<void> {
  const server = await PrivateServer.start(redisRecipe());
  const channel = newChannel();
  const a = await Party.create(library, server.address, channel, speed);
  const b = await Party.create(library, server.address, channel);
  try {
    await play(server, await a.connect(), await b.connect());
  } finally {
    await a.end();
    await b.end();
    await server.stop();
  }
}
