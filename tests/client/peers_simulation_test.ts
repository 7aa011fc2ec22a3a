import process from "node:process";
import * as client from "../../client/mod.ts";
import { test } from "../harness.ts";
import { runPeersHistory } from "./peers_simulation.ts";

const { REALITY_CLIENT_SEED, REALITY_PEERS_COUNT = "10" } = process.env;
const first = Number(REALITY_CLIENT_SEED ?? Math.floor(Math.random() * 1e9));

test(`beside servers that lag, restart and lose storages each change is known within its bound, from seed ${first} on`, async () => {
  for (let seed = first; seed < first + Number(REALITY_PEERS_COUNT); seed++) {
    await runPeersHistory(seed, client);
  }
});
