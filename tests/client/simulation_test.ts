import process from "node:process";
import * as client from "../../client/mod.ts";
import { test } from "../harness.ts";
import { runHistory } from "./simulation.ts";

const { REALITY_CLIENT_SEED, REALITY_CLIENT_COUNT = "20" } = process.env;
const first = Number(REALITY_CLIENT_SEED ?? Math.floor(Math.random() * 1e9));

test(`what a client shows ends as what is stored, whatever fails in between, from seed ${first} on`, async () => {
  for (let seed = first; seed < first + Number(REALITY_CLIENT_COUNT); seed++) await runHistory(seed, client);
});
