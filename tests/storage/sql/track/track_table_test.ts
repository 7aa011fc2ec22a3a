import assert from "node:assert/strict";
import { type TrackOptions, trackTable, untrackTable } from "../../../../storage/sql/track/track_table.ts";
import { test } from "../../../harness.ts";

const OPTIONS: TrackOptions = { dialect: "postgres", table: "messages", keys: ["chat:{room_id}"] };
const DIALECTS = ["postgres", "mysql", "sqlite"] as const;

test("trackTable() refuses wrong options with a message that names them", () => {
  const wrong: readonly [Record<string, unknown>, RegExp][] = [
    [{ dialect: "oracle" }, /"dialect" is wrong: expected "postgres", "mysql" or "sqlite", got "oracle"/],
    [{ table: "" }, /"table" is wrong/],
    [{ table: "a\0b" }, /"table" is wrong/],
    [{ table: undefined }, /"table" is wrong: expected a name without NUL, got nothing/],
    [{ schema: "" }, /"schema" is wrong/],
    [{ name: "\ud800" }, /"name" is wrong/],
    [{ keys: "chat:{room_id}" }, /"keys" is wrong: expected an array/],
    [{ keys: [] }, /"keys" is wrong: expected an array/],
    [{ keys: [""] }, /"keys" is wrong/],
    [{ keys: [1] }, /"keys" is wrong.*got the number 1/],
    [
      { keys: ["chat:{room_id"] },
      /"keys" is wrong: expected \{column\}, and \{\{ or \}\} for a brace, got "chat:\{room_id"/,
    ],
    [
      { keys: ["chat:${room_id}"] },
      /"keys" is wrong: expected \{column\} without a dollar sign, and \$\$\{column\} for one, got "chat:\$\{room_id\}"/,
    ],
    [{ keys: ["chat:}"] }, /"keys" is wrong: expected \{column\}/],
    [{ keys: ["chat:{}"] }, /"keys" is wrong: expected \{column\}/],
    [{ keys: ["chat:\n"] }, /"keys" is wrong: "chat:\\n" makes no key: control characters/],
    [{ keys: ["x".repeat(513)] }, /"keys" is wrong: .* makes no key: longer than/],
    [{ when: "published" }, /"when" is wrong: expected a condition on columns in braces.*got "published"/],
    [{ when: "" }, /"when" is wrong/],
    [{ outbox: "out box" }, /"outbox" is wrong/],
    [{ outbox: ".outbox" }, /"outbox" is wrong/],
    [{ dialect: "sqlite", outbox: "main.outbox" }, /"outbox" is wrong.*one file/],
    [{ keyes: ["a"] }, /Unknown option "keyes" of trackTable: .*did you mean "keys"/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(() => trackTable({ ...OPTIONS, ...options } as TrackOptions), {
      name: "TypeError",
      message,
    });
  }
  assert.throws(() => untrackTable(OPTIONS), /Unknown option "keys" of untrackTable/);
});

test("trackTable() puts names into quotes, and texts between quotes that no mode of the database changes", () => {
  const hostile = { table: 'a"b`c', schema: "s.t", keys: ["it's \\ {{x}} {c\"d`e}"] };
  const [postgres, mysql, sqlite] = DIALECTS.map((dialect) => trackTable({ ...hostile, dialect }).join("\n"));
  assert.ok(postgres?.includes('"s.t"."a""b`c"'));
  assert.ok(postgres?.includes(String.raw`(E'it''s \\ {x} ' || (reality_row."c""d` + '`e")::text)'));
  assert.ok(mysql?.includes('`s.t`.`a"b``c`'));
  assert.ok(
    mysql?.includes("CONCAT(_utf8mb4 X'69742773205c207b787d20', CONVERT(NEW.`c\"d``e` USING utf8mb4))"),
  );
  assert.ok(sqlite?.includes('"s.t"."reality_track_a""b`c_insert" AFTER INSERT ON "a""b`c"'));
  assert.ok(sqlite?.includes(String.raw`('it''s \ {x} ' || CAST(NEW."c""d` + '`e" AS TEXT))'));
});

test("trackTable() takes two dollar signs before a column for one", () => {
  const keys = ["$1$$:$${room_id}$", "${{}}"];
  const [postgres, mysql, sqlite] = DIALECTS.map((dialect) =>
    trackTable({ ...OPTIONS, dialect, keys }).join("\n")
  );
  for (const sql of [postgres, sqlite]) {
    assert.ok(sql?.includes("('$1$$:$' || ") && sql.includes(" || '$')") && sql.includes("'${}'"));
  }
  assert.ok(mysql?.includes("_utf8mb4 X'243124243a24', ") && mysql.includes("X'247b7d'"));
});

test("trackTable() shortens long names to what every database takes, each to another one", () => {
  const names = ["x", "日本"].flatMap((letter) => [`${letter.repeat(60)}a`, `${letter.repeat(60)}b`]).flatMap(
    (table) =>
      [
        ...trackTable({ ...OPTIONS, dialect: "mysql", table }).join("\n").matchAll(
          /CREATE TRIGGER `([^`]+)`/g,
        ),
      ]
        .map(([, name = ""]) => name),
  );
  assert.equal(new Set(names).size, 12);
  for (const name of names) {
    assert.ok(new TextEncoder().encode(name).length <= 63, name);
    assert.match(name, /^reality_track_.*_(insert|update|delete)$/);
  }
});

test("trackTable() keeps the condition as it is, and ends a comment in it", () => {
  for (const dialect of DIALECTS) {
    const sql = trackTable({ ...OPTIONS, dialect, when: "{a b} <> '{{}}' -- not {c}" }).join("\n");
    const quote = dialect === "mysql" ? "`" : '"';
    assert.match(
      sql,
      new RegExp(`\\(\\w+\\.${quote}a b${quote} <> '\\{\\}' -- not \\w+\\.${quote}c${quote}\n\\)`),
    );
  }
});

test("trackTable() chooses a dollar quote that no name contains", () => {
  const sql = trackTable({ ...OPTIONS, table: "a$reality$b$reality1$" }).join("\n");
  assert.match(sql, /AS \$reality2\$\n#variable_conflict/);
});

test("untrackTable() drops what trackTable() creates", () => {
  for (const dialect of DIALECTS) {
    const options = { dialect, table: "messages", schema: "app", name: "second" };
    const created = trackTable({ ...options, keys: ["a"] }).join("\n");
    const dropped = untrackTable(options).join("\n");
    const names = [...created.matchAll(/CREATE (?:OR REPLACE )?(?:TRIGGER|FUNCTION) ([^\s(]+)/g)].map((
      [, name = ""],
    ) => name);
    assert.equal(new Set(names).size, dialect === "postgres" ? 5 : 3);
    for (const name of names) {
      assert.match(dropped, new RegExp(`IF EXISTS ${name.replaceAll(".", "\\.")}(\\(\\)| ON|\n|$)`));
    }
  }
});

test("trackTable() writes a key that is given twice once", () => {
  const once = trackTable(OPTIONS);
  assert.deepEqual(trackTable({ ...OPTIONS, keys: ["chat:{room_id}", "chat:{room_id}"] }), once);
});
