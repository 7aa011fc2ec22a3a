/**
 * The kit: subscriptions report the changes of other processes.
 *
 * @module
 */
import { isMeshStorage, type RealityStorage } from "../../src/store/contract.ts";
import { assert, assertSettles } from "./assert.ts";
import { changeOf, defined, type Kit, metaOf, write } from "./kit.ts";

/** Registers these tests. */
export function testSubscribe({ checkShared, supports }: Kit): void {
  if (!supports.subscribe) return;

  checkShared("subscribe() reports every change of another process", async (one, other) => {
    const ear = new Ear();
    const leave = await ear.listen(one);
    for (const key of ["a", "b", "a"]) {
      const heard = ear.hears(key);
      await write(other, key);
      await assertSettles(heard, `a change of ${key}`);
    }
    const deletion = ear.hears("b");
    await other.deleteNode("b");
    await assertSettles(deletion, "a deletion");
    await leave();
  });

  checkShared("subscribe() reports a node with a version that was already passed", async (one, other) => {
    const reserved = await other.incrementVersion("late");
    await write(other, "next");
    const ear = new Ear();
    const leave = await ear.listen(one);
    const heard = ear.hears("late");
    await other.setNode("late", metaOf("late", reserved));
    await assertSettles(heard, "a change in the past");
    await leave();
  });

  if (supports.mesh) testMeshNews(checkShared);

  checkShared("subscribe() calls each listener until it is removed", async (one, other) => {
    const [first, second] = [new Ear(), new Ear()];
    const leaveFirst = await first.listen(one);
    const leaveSecond = await second.listen(one);
    const both = Promise.all([first.hears("a"), second.hears("a")]);
    await write(other, "a");
    await assertSettles(both, "a change, for both");
    await leaveFirst();
    const { count } = first;
    const later = second.hears("b");
    await write(other, "b");
    await assertSettles(later, "a change, for the one who stayed");
    assert(first.count === count, "Who has left was told all the same");
    await leaveSecond();
    await leaveSecond();
    const third = new Ear();
    const leaveThird = await third.listen(one);
    const again = third.hears("c");
    await write(other, "c");
    await assertSettles(again, "a change, after all had left");
    await leaveThird();
  });
}

function testMeshNews(checkShared: Kit["checkShared"]): void {
  checkShared("subscribe() reports nodes that another process merges", async (one, other) => {
    assert(isMeshStorage(other), "Expected a storage that can stand beside others");
    const { version } = await write(other, "a");
    const ear = new Ear();
    const leave = await ear.listen(one);
    // Below the counter, above it, and one of its own.
    for (const place of [1, version + 1000]) {
      const heard = ear.hears(`key:${place}`);
      const node = { ...metaOf(`key:${place}`, place), replicaId: "other", dotVersion: place };
      await other.mergeNodes([{ node, replaces: null }]);
      await assertSettles(heard, `a node taken at ${place}`);
    }
    const own = ear.hears("own");
    await other.mergeNodes([{ node: changeOf("own"), replaces: null }]);
    await assertSettles(own, "a change made while taking");
    await leave();
  });

  checkShared("subscribe() reports that the epoch has changed", async (one, other) => {
    assert(isMeshStorage(other), "Expected a storage that can stand beside others");
    await write(other, "a");
    const ear = new Ear();
    const leave = await ear.listen(one);
    const heard = ear.hears("a");
    await other.adoptVector(new Map(), "000000000-first");
    await assertSettles(heard, "another epoch");
    await leave();
  });
}

/** Hears, and settles what waits for a key. */
class Ear {
  count = 0;
  readonly #waiting: { readonly key: string; readonly settle: () => void }[] = [];

  async listen(storage: RealityStorage): Promise<() => Promise<void>> {
    return await defined(
      storage.subscribe?.((keys) => {
        this.count++;
        for (const { key, settle } of this.#waiting) {
          if (keys === null || keys.includes(key)) settle();
        }
      }),
    );
  }

  async hears(key: string): Promise<void> {
    await new Promise<void>((resolve) => this.#waiting.push({ key, settle: resolve }));
  }
}
