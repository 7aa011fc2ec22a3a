import process from "node:process";
import * as client from "../../client/mod.ts";
import { test } from "../harness.ts";
import { EDGES, runCacheHistory } from "./cache_simulation.ts";

const { REALITY_CLIENT_SEED, REALITY_CACHE_COUNT = "1" } = process.env;
const first = Number(REALITY_CLIENT_SEED ?? Math.floor(Math.random() * 1e9));

for (const kind of Object.keys(EDGES)) {
  test(`behind edges that ${kind} each change is known within its bound, from seed ${first} on`, async () => {
    for (let seed = first; seed < first + Number(REALITY_CACHE_COUNT); seed++) {
      await runCacheHistory(seed, kind, client);
    }
  });
}
