/**
 * The age of tombstones in a DynamoDB table: judged by the service's clock, whatever the processes' own show.
 *
 * @module
 */
import assert from "node:assert/strict";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { ServiceClock } from "../../../storage/dynamodb/service_clock.ts";
import { test } from "../../harness.ts";
import { configure, newTableName } from "./kit.ts";

const DAY = 86_400_000;

/** Runs with a wall clock that can be set. */
async function withWall(use: (wall: { ahead: number }) => void | Promise<void>): Promise<void> {
  const { now } = Date;
  const wall = { ahead: 0 };
  Date.now = () => now() + wall.ahead;
  try {
    await use(wall);
  } finally {
    Date.now = now;
  }
}

for (const ahead of [-2 * DAY, 2 * DAY]) {
  test(`a process whose clock is ${ahead / DAY} days off sweeps nothing early in DynamoDB`, async () => {
    const tableName = newTableName();
    const clients = [0, 1].map(() => new DynamoDB(configure() ?? {}));
    const [right, wrong] = clients.map((client) => new DynamoDBStorage({ client, tableName }));
    assert.ok(right && wrong);
    try {
      await right.createTable();
      await right.deleteNode("a");
      await withWall(async (wall) => {
        wall.ahead = ahead;
        await wrong.deleteNode("b");
        await wrong.deleteNode("c");
        assert.equal((await wrong.readNodes([])).collectedVersion, 0);
      });
      await right.deleteNode("d");
      assert.deepEqual((await right.listChangedSince(0)).map(({ key }) => key), ["a", "b", "c", "d"]);
      assert.equal((await right.readNodes([])).collectedVersion, 0);
      const { Items = [] } = await clients[0]!.scan({ TableName: tableName });
      for (const { node_key: key, expires_at: until } of Items.filter((item) => item.expires_at)) {
        const kept = Number(until?.N) * 1000 - Date.now();
        assert.ok(kept > 2 * DAY - 60_000 && kept < 2 * DAY + DAY / 8 + 60_000, `${key?.S} for ${kept} ms`);
      }
      // A clock that is set between two answers is not believed either.
      await withWall(async (wall) => {
        wall.ahead = ahead;
        await right.deleteNode("e");
      });
      assert.equal((await right.listChangedSince(0)).length, 5);
    } finally {
      await Promise.all([right.close(), wrong.close()]);
      for (const client of clients) client.destroy();
    }
  });
}

test("ServiceClock tells what a client has learnt, and both times where the clock was set since", async () => {
  await withWall((wall) => {
    const client = { config: { systemClockOffset: -DAY } };
    const clock = new ServiceClock(client, undefined);
    const isNear = (time: number, expected: number) =>
      Math.abs(time - Date.now() + wall.ahead - expected) < 10_000;
    assert.ok(isNear(clock.early, -DAY) && isNear(clock.late, -DAY));
    clock.hear();
    wall.ahead = DAY;
    assert.ok(isNear(clock.early, -DAY) && isNear(clock.late, 0));
    wall.ahead = -DAY;
    assert.ok(isNear(clock.early, -2 * DAY) && isNear(clock.late, -DAY));
    client.config.systemClockOffset = 0;
    clock.hear();
    assert.ok(isNear(clock.early, -DAY) && isNear(clock.late, -DAY));
    // One that tells nothing has this process's clock taken for the service's.
    const silent = new ServiceClock({}, undefined);
    assert.ok(isNear(silent.early, -DAY) && isNear(silent.late, -DAY));
    const given = new ServiceClock(client, () => 5);
    assert.deepEqual([given.early, given.late], [5, 5]);
  });
});
