import process from "node:process";
import { test } from "../harness.ts";
import { runQueryHistory } from "./query_history.ts";
import { versions } from "./query_scene.ts";

const { REALITY_CLIENT_SEED, REALITY_CLIENT_COUNT = "8" } = process.env;
const first = Number(REALITY_CLIENT_SEED ?? Math.floor(Math.random() * 1e9));

for (const { name, core } of versions) {
  test(`what queries of ${name} show ends as what is stored, whatever fails in between, from seed ${first} on`, async () => {
    for (let seed = first; seed < first + Number(REALITY_CLIENT_COUNT); seed++) {
      await runQueryHistory(seed, core);
    }
  });
}
