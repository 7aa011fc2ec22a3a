import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { runTrack } from "../../cli/track/command.ts";
import { test } from "../harness.ts";
import { withFolder } from "./command.ts";

const KEYS = ["--keys", "chat:{room_id}", "user:{author_id}:inbox"];

async function run(
  command: "track" | "untrack",
  ...args: string[]
): Promise<[code: number, printed: string]> {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const code = await runTrack(command, args, { log: print, error: print });
  return [code, lines.join("\n")];
}

/** Runs a test on an SQLite file with a table and an outbox. */
async function withFile(test: (url: string, database: DatabaseSync) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const path = join(folder, "app.db");
    const database = new DatabaseSync(path);
    database.exec("CREATE TABLE messages (room_id INTEGER, author_id INTEGER)");
    database.exec("CREATE VIEW recent AS SELECT * FROM messages");
    database.exec("CREATE TABLE reality_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT)");
    try {
      await test(`sqlite:${path}`, database);
    } finally {
      database.close();
    }
  });
}

function keys(database: DatabaseSync): unknown[] {
  return database.prepare("SELECT key FROM reality_outbox ORDER BY key").all().map(({ key }) => key);
}

test("track --apply installs triggers, and untrack --apply removes them", () =>
  withFile(async (url, database) => {
    for (let i = 0; i < 2; i++) {
      const result = await run(
        "track",
        url,
        "--table",
        "messages",
        ...KEYS,
        "--when",
        "{room_id} > 1",
        "--apply",
      );
      assert.deepEqual(result, [0, "Tracked: messages"]);
    }
    database.exec("INSERT INTO messages VALUES (1, 1), (2, 3)");
    assert.deepEqual(keys(database), ["chat:2", "user:3:inbox"]);
    assert.deepEqual(await run("untrack", url, "--table", "messages", "--apply"), [
      0,
      "No longer tracked: messages",
    ]);
    database.exec("DELETE FROM messages");
    assert.deepEqual(keys(database), ["chat:2", "user:3:inbox"]);
  }));

test("track --apply names what does not exist, and changes nothing", () =>
  withFile(async (url, database) => {
    const cases: [string[], string][] = [
      [["--table", "mesages", ...KEYS], 'Cannot track "mesages": there is no table "mesages"'],
      [["--table", "recent", ...KEYS], 'Cannot track "recent": "recent" is not a table, but a view'],
      [
        ["--table", "messages", "--keys", "chat:{room}"],
        'there is no column "room" in "messages": it has room_id, author_id',
      ],
      [["--table", "messages", ...KEYS, "--when", "{gone} = 1"], 'there is no column "gone" in "messages"'],
      [
        ["--table", "messages", ...KEYS, "--outbox", "none"],
        'there is no outbox "none": start a server whose storage has the option outbox, or the command with ' +
        "REALITY_OUTBOX, and send it a request, which creates it",
      ],
      [
        ["--table", "messages", ...KEYS, "--when", "{room_id} ="],
        'Cannot track "messages": near ")": syntax error',
      ],
    ];
    for (const [args, message] of cases) {
      const [code, printed] = await run("track", url, ...args, "--apply");
      assert.equal(code, 1);
      assert.ok(printed.includes(message), printed);
    }
    database.exec("INSERT INTO messages VALUES (1, 1)");
    assert.deepEqual(keys(database), []);
  }));

test("track prints a script for the database's own command line, and connects to nothing", async () => {
  const args = ["--table", "messages", ...KEYS];
  const [code, sqlite] = await run("track", "sqlite:/none/none.db", ...args);
  assert.equal(code, 0);
  assert.match(sqlite, /^\.bail on\nBEGIN IMMEDIATE;\nINSERT INTO [\s\S]*END;\nCOMMIT;$/);
  const [, postgres] = await run("track", "postgres://app:secret@127.0.0.1:1/app", ...args);
  assert.match(
    postgres,
    /^SET client_encoding[\s\S]*\nBEGIN;\nINSERT INTO "public"\."reality_outbox"[\s\S]*\nCOMMIT;$/,
  );
  const [, mysql] = await run("track", "mariadb://app:secret@127.0.0.1:1/app", ...args, "--schema", "a$$b");
  assert.match(
    mysql,
    /\nDELIMITER \$\$\$\nINSERT[\s\S]*LOCK TABLES `a\$\$b`\.`messages` WRITE\$\$\$\n[\s\S]*UNLOCK TABLES\$\$\$\nDELIMITER ;$/,
  );
  const [, untrack] = await run("untrack", "mysql://127.0.0.1:1/app", "--table", "messages");
  assert.match(untrack, /DROP TRIGGER IF EXISTS `reality_track_messages_update`\$\$/);
});

test("track explains a wrong argument, and prints no password", async () => {
  const cases: [string[], RegExp][] = [
    [[], /^Cannot track: expected one URL, got 0\n\nreality-server track URL/],
    [["sqlite:a.db", "messages"], /^Cannot track: expected one URL, got 2; keys come after --keys/],
    [["sqlite:a.db", ...KEYS], /^Cannot track: expected --table/],
    [["sqlite:a.db", "--table"], /^Cannot use --table: expected a value after it/],
    [["sqlite:a.db", "--table", "t"], /^Cannot track: expected --keys/],
    [["sqlite:a.db", "--table", "t", "--key", "a"], /^Cannot read the argument "--key"/],
    [
      ["oracle://app:secret@host/app", "--table", "t", ...KEYS],
      /^Cannot use the URL: expected .* got "oracle:…"/,
    ],
    [["sqlite:a.db", "--table", "t", "--keys", "chat:{a"], /^Option "keys" is wrong: expected \{column\}/],
    [
      ["sqlite:/none/none.db", "--table", "t", "--keys", "a", "--apply"],
      /^Cannot track "t": the file does not exist$/,
    ],
    [
      ["postgres://app:secret@127.0.0.1:1/a", "--table", "t", "--keys", "a", "--apply"],
      /^Cannot track "t": .*ECONNREFUSED/,
    ],
  ];
  for (const [args, message] of cases) {
    const [code, printed] = await run("track", ...args);
    assert.equal(code, 1);
    assert.match(printed, message);
    assert.doesNotMatch(printed, /secret/);
  }
  assert.match((await run("untrack", "--help"))[1], /^reality-server track URL/);
  assert.match(
    (await run("untrack", "sqlite:a.db", "--table", "t", "--keys", "a"))[1],
    /^Cannot read the argument "--keys"/,
  );
});
