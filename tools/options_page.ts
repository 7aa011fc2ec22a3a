/**
 * Creates `docs/options.md` from the doc comments of the exported interfaces of options.
 *
 * @module
 */
import type { Declaration, DocOutput } from "./read_docs.ts";

/** A section of the page. */
interface Section {
  readonly title: string;
  /** What the reader does with the options. */
  readonly intro: string;
  /** The exported interface. */
  readonly name: string;
}

/** Every section, in the order of the page. */
const SECTIONS: readonly Section[] = [
  { title: "The server", intro: "`new RealityServer({ storage, … })`", name: "RealityServerOptions" },
  {
    title: "Limits",
    intro: "`new RealityServer({ storage, limits: { maxWait: 20_000 } })`",
    name: "Limits",
  },
  {
    title: "Rate limits",
    intro: "`new RealityServer({ storage, rateLimit: { limit: 600, window: 60_000 } })`",
    name: "RateLimitOptions",
  },
  {
    title: "The mesh",
    intro: "`new RealityServer({ storage, meshPeers, mesh: { fanout: 4 } })`",
    name: "MeshOptions",
  },
  {
    title: "Groups",
    intro: "`new RealityServer({ storage, groups: { of, isGroup, detail } })`: [groups](groups.md)",
    name: "GroupsOptions",
  },
  {
    title: "Redis",
    intro: "`new RealityServer({ storage, redis: { publisher, subscriber } })`",
    name: "RedisOptions",
  },
  {
    title: "Handlers",
    intro:
      "The second argument of `createFetchHandler`, `createNodeHandler` and `createExpressAdapter`, and the argument of " +
      '`server.getFetchHandler`:\n`createFetchHandler(server, { basePath: "/live" })`',
    name: "HandlerOptions",
  },
  {
    title: "CORS",
    intro: '`createFetchHandler(server, { cors: { origin: ["https://app.example"] } })`',
    name: "CorsOptions",
  },
  { title: "Stamps", intro: "`server.stamp(keys, { request })`: [stamps](stamps.md)", name: "StampOptions" },
  {
    title: "Event streams of your own routes",
    intro: "`server.handleSSECompat(request, { keys })`",
    name: "SSEOptions",
  },
  {
    title: "Errors that your hooks throw",
    intro: '`new RefusalError("ERR_REALITY_UNAUTHORIZED", "Sign in first", { retryAfter: 5 })`',
    name: "RefusalOptions",
  },
  {
    title: "The client",
    intro: '`createClient({ url: "/reality" })` of `./client`: [the client](client.md)',
    name: "ClientOptions",
  },
  { title: "client.follow", intro: "`reality.follow(keys, listener, { initial })`", name: "FollowOptions" },
  {
    title: "TanStack Query",
    intro: "`followQueries(queryClient, reality, { … })` of `./tanstack-query`",
    name: "FollowQueriesOptions",
  },
  { title: "client.live", intro: '`reality.live("/api/messages", { initial })`', name: "LiveOptions" },
  {
    title: "All storages",
    intro: "`new MemoryStorage({ tombstoneTimeout: 3_600_000 })`, and every storage below",
    name: "StorageOptions",
  },
  {
    title: "SQLite",
    intro: '`openSQLite("reality.db", { synchronous: "normal" })` of `./sqlite`',
    name: "SQLiteOptions",
  },
  {
    title: "PostgreSQL",
    intro: "`openPostgres(url, { maxConnections: 8 })` of `./postgres`",
    name: "PostgresOptions",
  },
  {
    title: "SQL through your driver",
    intro: '`new SQLStorage({ query, dialect: "mysql" })`',
    name: "SQLStorageOptions",
  },
  {
    title: "The outbox",
    intro:
      '`openPostgres(url, { outbox: { tableName: "app_outbox" } })`, and the other SQL storages: [changes by your database](database.md)',
    name: "OutboxOptions",
  },
  {
    title: "Triggers",
    intro:
      '`trackTable({ dialect: "postgres", table, keys })` of `./track`: [triggers](database.md#triggers)',
    name: "TrackOptions",
  },
  {
    title: "The table of triggers",
    intro: '`untrackTable({ dialect: "postgres", table })` of `./track`',
    name: "UntrackOptions",
  },
  { title: "Drizzle", intro: "`createDrizzleAdapter(db, { tableName })`", name: "DrizzleAdapterOptions" },
  { title: "Prisma", intro: "`createPrismaAdapter(prisma, { modelName })`", name: "PrismaAdapterOptions" },
  {
    title: "DynamoDB",
    intro: "`new DynamoDBStorage({ client, tableName })`",
    name: "DynamoDBStorageOptions",
  },
  {
    title: "Redis with ioredis",
    intro: "`await connectRedis(url, { connectTimeout: 0 })` of `./ioredis`",
    name: "ConnectRedisOptions",
  },
  { title: "JSON Web Tokens", intro: "`jwtAuthorize({ secret })` of `./jwt`", name: "JWTOptions" },
  {
    title: "OpenTelemetry",
    intro: "`openTelemetry({ … })` of `./opentelemetry`",
    name: "OpenTelemetryOptions",
  },
  {
    title: "Checks of a running server",
    intro: "`await checkServer(url, { … })` of `./check`",
    name: "CheckOptions",
  },
  {
    title: "Tests of a storage",
    intro: "`testStorage({ name, create, test })` of `./conformance`",
    name: "StorageTestOptions",
  },
];

/** Names that end in `Options` and are no options of this package. */
const FOREIGN = ["TelemetryInstrumentOptions"];

const HEAD = `# Every option

All options of the package with their types, defaults and meanings. Times are in milliseconds unless the text says otherwise. An
option that does not exist, or a value that is out of range, throws a \`TypeError\` or a \`RangeError\` that names the option.

\`\`\`ts
import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";

try {
  new RealityServer({ storage: new MemoryStorage(), limits: { maxWait: -1 } });
} catch (error) {
  console.assert(error instanceof RangeError && error.message.includes("maxWait"));
}
\`\`\`

This page is generated from the doc comments of the code: \`deno task build:options\`. The environment variables of the standalone
server are in [standalone.md](standalone.md).
`;

const FOOT = `
Next: [every error](errors.md). Back to the [README](../README.md).
`;

/**
 * Creates the page.
 *
 * @param output What \`deno doc --json\` printed for the exported modules.
 * @param read Returns the text of a source file by its URL.
 * @throws {Error} If an exported interface of options is in no section, or a section has no interface.
 */
export function createOptionsPage(output: DocOutput, read: (url: string) => string): string {
  const found = new Map<string, Declaration>();
  for (const { symbols } of Object.values(output.nodes)) {
    for (const { name, declarations } of symbols) {
      const declaration = declarations.find(({ kind }) => kind === "interface");
      if (declaration && (name === "Limits" || name.endsWith("Options"))) found.set(name, declaration);
    }
  }
  const names = SECTIONS.map(({ name }) => name);
  const missing = [...found.keys()].filter((name) => !names.includes(name) && !FOREIGN.includes(name));
  if (missing.length > 0) throw new Error(`docs/options.md has no section for ${missing.join(", ")}`);
  const links = SECTIONS.map(({ title }) => `[${title}](#${toAnchor(title)})`).join(" · ");
  const sections = SECTIONS.map((section) => {
    const declaration = found.get(section.name);
    if (declaration === undefined) throw new Error(`No module exports ${section.name}`);
    return createSection(section, declaration, read);
  });
  return `${HEAD}\n${links}\n${sections.join("")}${FOOT}`;
}

/** The anchor that GitHub gives a heading. */
export function toAnchor(title: string): string {
  return title.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
}

function createSection(
  { title, intro }: Section,
  { def }: Declaration,
  read: (url: string) => string,
): string {
  const parents = def?.extends?.map(({ repr }) => repr) ?? [];
  const inherited = SECTIONS.filter(({ name }) => parents.includes(name))
    .map(({ title }) => `[${title}](#${toAnchor(title)})`);
  const also = inherited.length > 0 ? `\nThe options of ${inherited.join(", ")} apply as well.\n` : "";
  const rows = def?.properties?.map(({ name, optional, location, jsDoc }) => {
    const { doc = "", tags = [] } = jsDoc ?? {};
    const [text = "", inline] = doc.split(/\s*@default\s+/);
    // A default that is a sentence is not parsed by `deno doc`: the tag is kept as it is.
    const words = tags.find(({ value }) => value?.startsWith("@default "))?.value?.slice("@default ".length);
    const code = tags.find(({ kind }) => kind === "default")?.value;
    const deprecated = tags.find(({ kind }) => kind === "deprecated");
    const value = readDefault(code ?? words ?? inline) ?? (optional ? "" : "required");
    const meaning = toCell(deprecated ? `${text} Deprecated: ${deprecated.doc ?? ""}` : text);
    return `| \`${name}\` | ${toType(read(location.filename), location.byteIndex)} | ${
      toCell(value)
    } | ${meaning} |\n`;
  }) ?? [];
  return `\n## ${title}\n\n${intro}\n${also}\n| option | type | default | meaning |\n| --- | --- | --- | --- |\n${
    rows.join("")
  }`;
}

/** `{5000}` or `5000` is code; a sentence is text. */
function readDefault(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const text = given.trim();
  const value = /^\{([^]*)\}$/.exec(text)?.[1] ?? text;
  return /^[\d_"'[{(]|^(?:true|false|undefined|Date\.now)$/.test(value) ? `\`${value}\`` : value;
}

/** Makes one line of a doc comment, without its examples and links of TypeScript. */
function toCell(text: string): string {
  return text.replaceAll(/```[^]*?```/g, "").replaceAll(/\{@linkcode ([^}]+)\}/g, "`$1`")
    .replaceAll(/\s+/g, " ").replaceAll("|", "\\|").trim();
}

/** The type as the source has it, from the name of the member to its semicolon. */
function toType(source: string, byteIndex: number): string {
  const rest = new TextDecoder().decode(new TextEncoder().encode(source).slice(byteIndex));
  const text = readType(rest.slice(rest.indexOf(":") + 1));
  const type = text.replace(/ \| undefined$/, "").replaceAll(/\/\*\*[^]*?\*\//g, "").replaceAll(/\s+/g, " ")
    .trim().replace(/^\| /, "").replace(/^\((\(.*\) => .*)\)$/, "$1");
  return `\`${type.replaceAll("|", "\\|")}\``;
}

/** The text before the semicolon that ends a type: one outside of all brackets. */
function readType(text: string): string {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    if ("{([".includes(text[i]!)) depth++;
    if ("})]".includes(text[i]!)) depth--;
    if (text[i] === ";" && depth === 0) return text.slice(0, i);
  }
  return text;
}
