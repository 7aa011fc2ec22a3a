/**
 * Somebody on the network who can prove nothing, and says all kinds of things to servers.
 *
 * @module
 */
import type { Delivery } from "../network.ts";
import type { Deed } from "./history.ts";
import { CHANNEL } from "./redis.ts";
import type { World } from "./world.ts";

const NONCE = "abcdefghijklmnopqrstuvwxyz";

/** Tells a server a lie. What it makes of it shows in its storage, and in what it answers and calls. */
export async function lie(world: World, deed: Deed & { do: "lie" }): Promise<void> {
  const station = world.network.join("liar");
  station.listen(() =>
    Promise.resolve(new Response("{}", { headers: { "content-type": "application/json" } }))
  );
  publish(world, deed);
  const body = bodyOf(world, deed);
  if (body === undefined) return;
  const request = new Request(`http://server-${deed.server}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  const text = await station.fetch(request).then((answer) => answer.text(), () => "");
  if (text.includes('"message":"{')) {
    world.record.blame("leak", `server-${deed.server} told the liar ${text}`);
  }
}

/** Tells a lie to all who listen on Redis: bare, as those without a secret write, and with a signature that is none. */
function publish(world: World, { server, key }: Deed & { do: "lie" }): void {
  const message = forge(server, key);
  for (const text of [message, JSON.stringify({ form: 1, message, proofs: ["A".repeat(43)] }), "garbage"]) {
    world.lies.add(text);
    world.redis.publish(CHANNEL, text);
  }
}

function bodyOf(world: World, { lie, key, server }: Deed & { do: "lie" }): string | undefined {
  switch (lie) {
    case "push":
      return wrap({
        form: 1,
        token: NONCE,
        to: NONCE,
        nonce: NONCE,
        proofs: ["A".repeat(43)],
        message: forge(server, key),
      });
    case "hello":
      return wrap({ form: 1, hello: { nonce: NONCE, id: "server-0" } });
    case "callback":
      return wrap({ form: 1, callback: { nonce: NONCE, token: NONCE } });
    case "other":
      return wrap({ form: 2, message: forge(server, key) });
    case "garbage":
      return '{"known":{},"gossip":[1,{"form":1}],"epoch":7}';
    case "replay":
      return world.captured.findLast((delivery) => canReplay(world, delivery))?.body;
  }
}

/** Without a secret the line is trusted: nobody else reads the tokens on it. */
function canReplay(world: World, { body }: Delivery): boolean {
  return world.history.secret || !body.includes('"token"');
}

function forge(server: number, key: number): string {
  const node = { key: `key-${key}`, version: 2 ** 50, hash: "forged", updatedAt: 1, origin: "liar" };
  return JSON.stringify({
    id: `server-${server + 1}`,
    run: "liar",
    origin: "liar",
    epoch: "0",
    peers: { liar: "alive" },
    urls: { liar: "http://stranger" },
    seen: { liar: 2 ** 50 },
    swept: {},
    delta: { base: {}, full: false, after: null, next: null, nodes: [node] },
  });
}

function wrap(gossip: unknown): string {
  return JSON.stringify({ known: {}, gossip });
}
