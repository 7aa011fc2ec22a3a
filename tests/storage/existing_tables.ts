/**
 * Tables as version 2.0.0 made and filled them. They must go on working as they are.
 *
 * @module
 */
import assert from "node:assert/strict";
import { isConfirmed } from "../../src/store/history.ts";
import { type SQLDialectName, type SQLQuery, SQLStorage } from "../../storage/sql/sql_storage.ts";
import { newTableName } from "./table_kit.ts";

/** The statements of `schema`, for a table named TABLE_NAME. */
const SCHEMAS: Readonly<Record<SQLDialectName, string>> = {
  sqlite: `CREATE TABLE IF NOT EXISTS "TABLE_NAME" (
  node_key TEXT NOT NULL PRIMARY KEY, -- the empty key is the counter's row
  version INTEGER NOT NULL,           -- there: the last version given
  hash TEXT NOT NULL,
  updated_at INTEGER NOT NULL,        -- milliseconds since 1970
  expires_at INTEGER,                 -- set for a tombstone: when it may be swept
  origin TEXT,                        -- the storage that wrote it, set where that is another one
  stamp INTEGER,                      -- set where it is not the version
  epoch TEXT,                         -- only in the counter's row, as all that follows
  max_version INTEGER,                -- the highest version that was ever visible
  max_stamp INTEGER,                  -- the highest stamp of this storage's own that was ever visible
  swept_version INTEGER,              -- the highest version among swept tombstones
  late INTEGER,                       -- how many nodes came with a version already passed
  mesh TEXT                           -- what was seen of other storages, and how far was swept
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS "TABLE_NAME_version" ON "TABLE_NAME" (version);
CREATE INDEX IF NOT EXISTS "TABLE_NAME_expires_at" ON "TABLE_NAME" (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS "TABLE_NAME_stamp" ON "TABLE_NAME" (stamp) WHERE stamp IS NOT NULL;`,
  postgres: `CREATE TABLE IF NOT EXISTS "TABLE_NAME" (
  node_key text COLLATE "C" NOT NULL PRIMARY KEY, -- the empty key is the counter's row
  version bigint NOT NULL,                        -- there: 0
  hash text COLLATE "C" NOT NULL,
  updated_at bigint NOT NULL,                     -- milliseconds since 1970
  expires_at bigint,                              -- set for a tombstone: when it may be swept
  origin text,                                    -- the storage that wrote it, set where that is another one
  stamp bigint,                                   -- set where it is not the version
  epoch text,                                     -- only in the counter's row, as all that follows
  counter bigint,                                 -- the last version given
  max_version bigint,                             -- the highest version that was ever visible
  max_stamp bigint,                               -- the highest stamp of this storage's own that ever was
  swept_version bigint,                           -- the highest version among swept tombstones
  late bigint,                                    -- how many nodes came with a version already passed
  mesh text                                       -- what was seen of other storages, and how far was swept
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS "TABLE_NAME_version" ON "TABLE_NAME" (version);
CREATE INDEX IF NOT EXISTS "TABLE_NAME_expires_at" ON "TABLE_NAME" (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS "TABLE_NAME_stamp" ON "TABLE_NAME" (stamp) WHERE stamp IS NOT NULL;`,
  mysql: `CREATE TABLE IF NOT EXISTS \`TABLE_NAME\` (
  node_key VARBINARY(512) NOT NULL PRIMARY KEY, -- the empty key is the counter's row
  version BIGINT NOT NULL,                     -- there: 0
  hash VARBINARY(256) NOT NULL,
  updated_at BIGINT NOT NULL,                  -- milliseconds since 1970
  expires_at BIGINT,                           -- set for a tombstone: when it may be swept
  origin VARBINARY(128),                       -- the storage that wrote it, set where that is another one
  stamp BIGINT,                                -- set where it is not the version
  epoch VARCHAR(128) CHARACTER SET utf8mb4,    -- only in the counter's row, as all that follows
  counter BIGINT,                              -- the last version given
  max_version BIGINT,                          -- the highest version that was ever visible
  max_stamp BIGINT,                            -- the highest stamp of this storage's own that ever was
  swept_version BIGINT,                        -- the highest version among swept tombstones
  late BIGINT,                                 -- how many nodes came with a version already passed
  mesh MEDIUMTEXT CHARACTER SET utf8mb4,       -- what was seen of other storages, and how far was swept
  INDEX (version),
  INDEX (expires_at),
  INDEX (stamp)
) ENGINE = InnoDB;`,
};

const EPOCH = "0mi1c2k3l-abcdefgh";
const ORIGIN = "abcdefghijkl";
const MESH = '{"seen":{"other":2},"swept":{}}';

/** Two nodes, a tombstone and the counter's row. */
function rowsOf(dialect: SQLDialectName): string[] {
  const [column, value, version] = dialect === "sqlite" ? ["", "", 4] : ["counter, ", "4, ", 0];
  const insert = (columns: string, values: string) =>
    `INSERT INTO TABLE_NAME (${columns}) VALUES (${values})`;
  const node = "node_key, version, hash, updated_at, expires_at, origin, stamp";
  return [
    insert(node, "'own', 1, 'h1', 1700000000000, NULL, NULL, NULL"),
    insert(node, "'theirs', 2, 'h2', 1700000000000, NULL, 'other', NULL"),
    insert(node, "'gone', 4, '', 1700000000000, 9000000000000, NULL, NULL"),
    insert(
      `node_key, version, hash, updated_at, ${column}epoch, origin, max_version, max_stamp, swept_version, late, mesh`,
      `'', ${version}, '', 0, ${value}'${EPOCH}', '${ORIGIN}', 4, 4, 0, 1, '${MESH}'`,
    ),
  ];
}

/** Makes such a table, and uses it as a server of today does. */
export async function testExistingTable(dialect: SQLDialectName, query: SQLQuery): Promise<void> {
  const tableName = newTableName();
  const statements = [...SCHEMAS[dialect].split(/;\n|;$/), ...rowsOf(dialect)].filter((sql) => sql !== "");
  for (const sql of statements) await query(sql.replaceAll("TABLE_NAME", tableName), []);
  const storage = new SQLStorage({ query, dialect, tableName, counter: "clock" });
  const before = await storage.readNodes(["own", "theirs", "gone"]);
  assert.equal(before.nodes.get("own")?.hash, "h1");
  assert.equal(before.nodes.get("theirs")?.hash, "h2");
  assert.equal(before.nodes.get("gone"), undefined);
  assert.deepEqual([before.epoch, before.replicaId, before.maxVersion, before.late], [EPOCH, ORIGIN, 4, 1]);
  const [meta] = await storage.applyChanges([{ key: "own", hash: "h3", updatedAt: 1 }]);
  assert.ok(meta!.version > 4);
  assert.deepEqual(await storage.getNode("own"), meta);
  const after = await storage.readChanges(4, 10);
  assert.deepEqual(after.nodes, [meta]);
  assert.ok(isConfirmed(after, 4));
  assert.ok(!isConfirmed(after, 3));
  const names = await storage.newEpoch();
  assert.deepEqual(await new SQLStorage({ query, dialect, tableName }).getIdentity(), names);
  assert.notEqual(names.epoch, EPOCH);
  assert.deepEqual(await storage.getNode("own"), meta);
}
