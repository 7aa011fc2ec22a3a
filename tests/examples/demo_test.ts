/**
 * The demo as users run it: `deno task start`, and a real Chromium with several pages open.
 *
 * The windows' pictures are left in `test-output/demo/`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
  type Request,
} from "playwright-core";
import { test } from "../harness.ts";
import { findPort } from "../run/server.ts";

const DENO = process.env.REALITY_DENO ?? "deno";
const CHROMIUM = process.env.REALITY_CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
  .concat(["--disable-background-networking", "--disable-component-update"]);

/** A demo and a browser of its own for one test. */
interface Stage {
  url: string;
  /** The SQLite file, if there is one. */
  file: string;
  /** Opens a window with its own session. */
  open(path: string, options?: BrowserContextOptions): Promise<Page>;
  /** Stops the server as a person does. */
  stop(): Promise<void>;
  /** Starts it again at the same port, on the same file. */
  start(): Promise<void>;
}

test("start prints the URL, answers a sync and a write, and stops cleanly", async () => {
  await withFolder(async (folder) => {
    const port = await findPort();
    const demo = await startDemo(port, `sqlite:${join(folder, "board.db")}`);
    assert.match(demo.said(), new RegExp(`^\\s+Open +http://localhost:${port}\\n`));
    const known = { "board:items": 0 };
    const { changed } = await post(`http://localhost:${port}/reality/sync`, { known });
    const version = changed["board:items"].version;
    assert.ok(version > 0);

    const waiting = post(`http://localhost:${port}/reality/sync`, {
      known: { "board:items": version },
      wait: 20_000,
    });
    await post(`http://localhost:${port}/api/items`, { text: "A canoe" });
    assert.ok((await waiting).changed["board:items"].version > version);
    assert.equal(await demo.end("SIGINT"), 0);
  });
});

test("start refuses a wrong port and a wrong storage by name", async () => {
  const wrong = { PORT: "80000", REALITY_STORAGE: "mysql:board" };
  for (const [name, value] of Object.entries(wrong)) {
    const child = run({ PORT: "0", REALITY_STORAGE: "memory:", [name]: value });
    const [errors, [code]] = await Promise.all([readAll(child.stderr), once(child, "close")]);
    assert.equal(code, 1);
    assert.match(errors, new RegExp(`Cannot use ${name}=${value}`));
  }
});

test("a page shows what another one adds, checks and removes", async () => {
  await withStage("file", async ({ open }) => {
    const ada = await open("/?as=Ada");
    const jon = await open("/?as=Jon");

    await add(ada, "A canoe");
    await row(jon, "A canoe").waitFor();
    await row(jon, "A canoe").getByRole("checkbox").click();
    await row(ada, "A canoe").and(ada.locator(".done")).waitFor();
    await row(ada, "A canoe").getByText("Jon, just now").waitFor();
    await row(ada, "A canoe").getByRole("button", { name: "Remove A canoe" }).click();
    await row(jon, "A canoe").waitFor({ state: "detached" });
    await row(ada, "A canoe").waitFor({ state: "detached" });
    await figure(jon, "delay-ours", (text) => text !== "–");
    await figure(jon, "delay-error", (text) => text !== "–");
  });
});

test("every page shows what another program changes in the table", async () => {
  await withStage("file", async ({ file, open }) => {
    const pages = await Promise.all([open("/?as=Ada"), open("/?as=Jon&transport=events")]);
    const db = new DatabaseSync(file);
    db.exec("UPDATE board_items SET text = 'A canoe' WHERE text = 'Card games'");
    for (const page of pages) await row(page, "A canoe").waitFor();
    db.exec("BEGIN; DELETE FROM board_items; ROLLBACK");
    db.exec("DELETE FROM board_items WHERE text = 'A canoe'");
    db.close();
    for (const page of pages) {
      await row(page, "A canoe").waitFor({ state: "detached" });
      await row(page, "Twelve bread rolls").waitFor();
    }
  });
});

test("a page on the event stream shows the same as one that waits with sync", async () => {
  await withStage("file", async ({ open }) => {
    const ada = await open("/?as=Ada");
    const jon = await open("/?as=Jon&transport=events");
    const waits: number[] = [];
    jon.on("request", (request) => {
      if (request.url().endsWith("/reality/sync")) waits.push(request.postDataJSON().wait);
    });
    await request(jon, "/reality/events", "").first().waitFor();

    await add(ada, "A canoe");
    await row(jon, "A canoe").waitFor();
    await row(ada, "Card games").getByRole("checkbox").click();
    await row(jon, "Card games").and(jon.locator(".done")).waitFor();
    await row(jon, "A canoe").getByRole("button").click();
    await row(ada, "A canoe").waitFor({ state: "detached" });
    await row(jon, "A canoe").waitFor({ state: "detached" });
    // A stream does not name the epoch. The syncs that ask for it do not wait.
    assert.deepEqual(waits.filter((wait) => wait > 0), []);

    // The page lists the last seven requests, and the stream may no longer be among them.
    const ended = jon.waitForEvent("requestfailed", (request) => request.url().includes("/reality/events?"));
    await jon.getByText("Waiting sync", { exact: true }).click();
    await request(jon, "/reality/sync", "waiting").waitFor();
    await ended;
    while (!waits.some((wait) => wait > 0)) await jon.waitForEvent("request");
    await add(ada, "A raft");
    await row(jon, "A raft").waitFor();
  });
});

test("an answer that did not change costs no query, and its body does not travel", async () => {
  await withStage("file", async ({ url, file, open }) => {
    const first = await fetch(`${url}/api/items`);
    assert.equal((await first.json()).length, 7);
    const headers = { "if-none-match": first.headers.get("etag")! };

    // A query would fail: the table has another name.
    const db = new DatabaseSync(file);
    db.exec("ALTER TABLE board_items RENAME TO elsewhere");
    const second = await fetch(`${url}/api/items`, { headers });
    db.exec("ALTER TABLE elsewhere RENAME TO board_items");
    db.close();
    assert.equal(second.status, 304);
    assert.equal(second.headers.get("reality-stamp"), first.headers.get("reality-stamp"));

    const ada = await open("/?as=Ada");
    await post(`${url}/api/items`, { text: "A canoe" });
    await row(ada, "A canoe").waitFor();
    const third = await fetch(`${url}/api/items`, { headers });
    assert.equal((await third.json()).length, 8);

    await figure(ada, "unchanged-ours", (text) => text === "0");
    await ada.getByRole("button", { name: "Asleep" }).click();
    await ada.getByRole("button", { name: "Asleep" }).click();
    await request(ada, "/api/items", "304, unchanged").waitFor();
    await figure(ada, "unchanged-ours", (text) => text === "1");
  });
});

test("the figures of a window count its requests, 304s and bytes, and polling as if it asked at each interval", async () => {
  await withStage("memory", async ({ url, open }) => {
    const ada = await open("/?as=Ada");
    // What was sent before is counted by now. What is sent from here on is compared with what the browser reports.
    await ada.getByRole("button", { name: "Asleep" }).click();
    await state(ada, "closed");
    const before = await figures(ada);
    const sent: Request[] = [];
    ada.on("request", (request) => {
      if (/\/reality\/|\/api\/items$/.test(request.url())) sent.push(request);
    });
    await ada.getByRole("button", { name: "Asleep" }).click();
    await request(ada, "/api/items", "304, unchanged").waitFor();
    await request(ada, "/reality/sync", "nothing new").first().waitFor();
    await request(ada, "/reality/sync", "waiting").waitFor();
    await post(`${url}/api/items`, { text: "A canoe" });
    await row(ada, "A canoe").waitFor();
    await ada.locator("#span", { hasText: "1 change in" }).waitFor();
    await request(ada, "/api/items", "8 items").waitFor();
    await request(ada, "/reality/sync", "waiting").waitFor();
    await ada.getByRole("button", { name: "Asleep" }).click();
    await state(ada, "closed");

    const after = await figures(ada);
    // Polling every second asks at once each time that the window awakes, and gets the board then and after the change.
    const awake = parseInt((await ada.locator("#span").innerText()).split(" in ")[1]!);
    const { theirs } = after;
    assert.ok(Math.abs(theirs.requests - (awake + 1)) <= 2, `${theirs.requests} polls in ${awake} s`);
    const changed = theirs.requests - theirs.unchanged;
    assert.ok(changed === 2 || changed === 3, `${changed} polls found a change`);
    const board = theirs.bytes - theirs.requests * 700;
    assert.ok(board > 500 * changed && board < 1500 * changed, `${changed} boards are ${board} bytes`);
    // Unchanged data, two syncs, new data, and a sync that waits until the window sleeps.
    assert.deepEqual(sent.map((request) => new URL(request.url()).pathname), [
      "/api/items",
      "/reality/sync",
      "/reality/sync",
      "/api/items",
      "/reality/sync",
    ]);
    assert.equal(after.requests - before.requests, sent.length);
    assert.equal(after.unchanged - before.unchanged, 1);
    const bodies = await Promise.all(
      sent.slice(1, 4).map(async (one) => {
        const answer = await (await one.response())!.body();
        return answer.length + (one.postDataBuffer()?.length ?? 0);
      }),
    );
    const headers = sent.length * 700;
    const waiting = sent[4]!.postDataBuffer()!.length;
    assert.equal(after.bytes - before.bytes, bodies.reduce((sum, size) => sum + size, headers + waiting));
  });
});

test("pages survive a restart of the server and lose nothing", async () => {
  await withStage("file", async ({ open, stop, start }) => {
    const ada = await open("/?as=Ada");
    const jon = await open("/?as=Jon&transport=events");
    await add(ada, "A canoe");
    await row(jon, "A canoe").waitFor();

    await stop();
    await Promise.all([state(ada, "retrying"), state(jon, "retrying")]);
    await add(ada, "A raft");
    await ada.getByRole("alert").getByText("did not reach the server").waitFor();
    assert.equal(await ada.getByLabel("What shall somebody bring?").inputValue(), "A raft");

    await start();
    await Promise.all([state(ada, "live"), state(jon, "live")]);
    await ada.getByRole("button", { name: "Add" }).click();
    await row(jon, "A raft").waitFor();
    await row(jon, "A canoe").getByRole("checkbox").click();
    await row(ada, "A canoe").and(ada.locator(".done")).waitFor();
  });
});

test("pages follow a server that lost all nodes", async () => {
  await withStage("memory", async ({ open, stop, start }) => {
    const ada = await open("/?as=Ada");
    const jon = await open("/?as=Jon&transport=events");
    await add(ada, "A canoe");
    await Promise.all([row(ada, "A canoe").waitFor(), row(jon, "A canoe").waitFor()]);
    await stop();
    await start();
    await row(ada, "A canoe").waitFor({ state: "detached" });
    await row(jon, "A canoe").waitFor({ state: "detached" });
    await add(jon, "A raft");
    await row(ada, "A raft").waitFor();
  });
});

test("a page that was asleep catches up", async () => {
  await withStage("memory", async ({ open }) => {
    const ada = await open("/?as=Ada");
    const jon = await open("/?as=Jon");
    await ada.getByRole("button", { name: "Asleep" }).click();
    await state(ada, "closed");
    await add(jon, "A canoe");
    await row(jon, "A canoe").waitFor();
    await row(jon, "Card games").getByRole("button").click();
    await row(jon, "Card games").waitFor({ state: "detached" });
    assert.equal(await row(ada, "A canoe").count(), 0);
    await ada.getByRole("button", { name: "Asleep" }).click();
    await row(ada, "A canoe").waitFor();
    await row(ada, "Card games").waitFor({ state: "detached" });
  });
});

test("the board works by keyboard, and announces changes of others to screen readers", async () => {
  await withStage("memory", async ({ open }) => {
    const ada = await open("/?as=Ada");
    const jon = await open("/?as=Jon");

    await ada.keyboard.press("Tab");
    await ada.keyboard.press("Enter");
    await ada.keyboard.type("A canoe");
    await ada.keyboard.press("Enter");
    await row(ada, "A canoe").waitFor();
    await jon.locator("#said", { hasText: "Ada added A canoe" }).waitFor({ state: "attached" });
    await ada.keyboard.press("Tab");
    await ada.keyboard.press("Tab");
    assert.equal(await focused(ada), "A canoe");
    await ada.keyboard.press("Space");
    await row(jon, "A canoe").and(jon.locator(".done")).waitFor();
    await jon.locator("#said", { hasText: "Ada packed A canoe" }).waitFor({ state: "attached" });

    // If the focused row is removed, the focus moves to its neighbour and not to the top of the page.
    await row(jon, "A canoe").getByRole("button").click();
    await row(ada, "A canoe").waitFor({ state: "detached" });
    assert.equal(await focused(ada), "Firewood, two baskets");
  });
});

test("the page fits a desktop and a phone, in light and dark mode", async () => {
  const desktop = { viewport: { width: 1280, height: 1000 } };
  const phone = {
    viewport: { width: 375, height: 812 },
    isMobile: true,
    hasTouch: true,
    deviceScaleFactor: 2,
  };
  const looks: [name: string, path: string, options: BrowserContextOptions][] = [
    ["desktop-light", "/?as=Ada", desktop],
    ["desktop-dark", "/?as=Jon&transport=events", { ...desktop, colorScheme: "dark" }],
    ["phone-light", "/?as=Mina", phone],
    ["phone-dark", "/?as=Bo", { ...phone, colorScheme: "dark", reducedMotion: "reduce" }],
    ["phone-narrow", "/?as=Cleo", { ...phone, viewport: { width: 320, height: 568 } }],
    ["pair", "/pair", { viewport: { width: 1440, height: 900 } }],
  ];
  await withStage("memory", async ({ open, url }) => {
    await post(`${url}/api/items`, {
      text: "The long rope that we forgot when we were here the last time",
      by: "Mina",
    });
    const look = async (name: string, page: Page) => {
      await page.evaluate(() => scrollTo(0, 0));
      await page.mouse.move(0, 0);
      await page.screenshot({ path: `test-output/demo/${name}.png`, fullPage: name !== "pair" });
      const [content, width] = await page.evaluate(
        () => [document.documentElement.scrollWidth, screen.width],
      );
      assert.ok(content! <= width!, `${name} is ${content} px wide on a screen of ${width}`);
      await page.context().close();
    };
    const desktops: [name: string, page: Page][] = [];
    for (const [name, path, options] of looks) {
      const page = await open(path, options);
      const frames = name === "pair" ? page.frames().slice(1) : [page];
      await Promise.all(frames.map((frame) => frame.locator("[data-state=live]").waitFor()));
      const by = new URLSearchParams(path.slice(path.indexOf("?"))).get("as") ?? "Robin";
      const item = await post(`${url}/api/items`, { text: `Sandwiches by ${by}`, by });
      // Not check(): what was fetched before the click may be drawn after it, until the page is told of the tick.
      await frames[0]!.locator("#items li", { hasText: item.text }).getByRole("checkbox").click();
      await frames.at(-1)!.locator("#items li.done", { hasText: item.text }).waitFor();
      // The desktops stay open and follow the changes of the others, so that they have something to draw.
      if (name.startsWith("desktop")) desktops.push([name, page]);
      else await look(name, page);
    }
    for (const [name, page] of desktops) await look(name, page);
  });
});

async function withStage(kind: "file" | "memory", act: (stage: Stage) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const port = await findPort();
    const file = join(folder, "board.db");
    const storage = kind === "file" ? `sqlite:${file}` : "memory:";
    const url = `http://localhost:${port}`;
    const faults: unknown[] = [];
    let demo = await startDemo(port, storage);
    let browser: Browser | undefined;
    try {
      browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
      const open = async (path: string, options: BrowserContextOptions = {}) => {
        const page = await (await browser!.newContext(options)).newPage();
        page.on("pageerror", (error) => faults.push(error));
        await page.goto(url + path);
        if (path !== "/pair") await state(page, "live");
        return page;
      };
      const start = async () => {
        demo = await startDemo(port, storage);
      };
      await act({ url, file, open, start, stop: async () => assert.equal(await demo.end("SIGTERM"), 0) });
      assert.deepEqual(faults, []);
    } finally {
      await browser?.close();
      await demo.end("SIGTERM");
    }
  });
}

async function startDemo(port: number, storage: string): Promise<Demo> {
  const child = run({ PORT: String(port), REALITY_STORAGE: storage });
  const closed = once(child, "close");
  let said = "";
  let complaint = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => complaint += text);
  child.stdout!.setEncoding("utf8").on("data", (text: string) => said += text);
  while (!said.includes("Ctrl+C")) {
    await Promise.race([once(child.stdout!, "data"), closed]);
    if (child.exitCode !== null) throw new Error(`The demo ended with ${child.exitCode}: ${complaint}`);
  }
  return {
    said: () => said,
    async end(signal) {
      // Not `child.kill()`: on Deno that makes the exit code null.
      if (child.exitCode === null) process.kill(child.pid!, signal);
      const [code] = await closed;
      assert.equal(complaint, "");
      return code;
    },
  };
}

interface Demo {
  said(): string;
  /** Sends the signal, if it still runs, and answers the exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

function run(env: Record<string, string>): ChildProcess {
  return spawn(DENO, ["task", "--quiet", "start"], {
    env: { ...process.env, NO_COLOR: "1", HOST: "127.0.0.1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function withFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "reality-demo-"));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

// deno-lint-ignore no-explicit-any -- whatever the server answers, the test looks into it
async function post(url: string, body: unknown): Promise<any> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  return await response.json();
}

async function readAll(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = "";
  for await (const chunk of stream!.setEncoding("utf8")) text += chunk;
  return text;
}

async function add(page: Page, text: string): Promise<void> {
  await page.getByLabel("What shall somebody bring?").fill(text);
  await page.getByRole("button", { name: "Add" }).click();
}

function row(page: Page, text: string): Locator {
  return page.locator("#items li", { hasText: text });
}

/** A line of the list of the last requests. */
function request(page: Page, path: string, note: string): Locator {
  return page.locator("#log li", { hasText: path }).filter({ hasText: note });
}

async function state(page: Page, name: "live" | "retrying" | "closed"): Promise<void> {
  await page.locator(`#status[data-state=${name}]`).waitFor();
}

async function figure(page: Page, id: string, holds: (text: string) => boolean): Promise<void> {
  while (!holds(await page.locator(`#${id}`).innerText())) {
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

/** What a window has counted since it was opened, and what it has calculated for polling. */
interface Figures {
  requests: number;
  unchanged: number;
  bytes: number;
}

/** Reads the figures of a window that sleeps: they were written when it fell asleep. */
async function figures(page: Page): Promise<Figures & { theirs: Figures }> {
  const read = async (column: string): Promise<Figures> => {
    const [requests, unchanged, bytes] = await Promise.all([
      page.locator(`#requests-${column}`).innerText(),
      page.locator(`#unchanged-${column}`).innerText(),
      page.locator(`#bytes-${column}`).getAttribute("title"),
    ]);
    return { requests: Number(requests), unchanged: Number(unchanged), bytes: parseInt(bytes!) };
  };
  return { ...await read("ours"), theirs: await read("theirs") };
}

function focused(page: Page): Promise<string | undefined> {
  return page.evaluate(() =>
    document.activeElement?.closest("li")?.querySelector(".text")?.textContent ?? undefined
  );
}
