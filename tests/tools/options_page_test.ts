import assert from "node:assert/strict";
import { createOptionsPage } from "../../tools/options_page.ts";
import { test } from "../harness.ts";

const SOURCE = `export interface Limits {
  size?: number | undefined;
  keep: "all" | "none";
  from?:
    | string
    | URL;
  decide?: ((key: string) => { ok: boolean; why?: string }) | undefined;
}`;

/** What `deno doc` prints for one exported interface whose members have these doc comments. */
function describe(name: string, docs: Record<string, object>) {
  const properties = Object.entries(docs).map(([name, jsDoc]) => ({
    name,
    optional: SOURCE.includes(`${name}?:`),
    location: { filename: "file:///a.ts", line: 0, byteIndex: SOURCE.indexOf(`${name}`, 20) },
    jsDoc,
  }));
  const location = { filename: "file:///a.ts", line: 0, byteIndex: 0 };
  return { name, declarations: [{ kind: "interface", location, def: { properties } }] };
}

const output = (symbols: ReturnType<typeof describe>[]) => ({ nodes: { "file:///a.ts": { symbols } } });

test("createOptionsPage() throws for exported options without a section, and for a section without options", () => {
  const limits = describe("Limits", {});
  assert.throws(
    () => createOptionsPage(output([limits, describe("NewOptions", {})]), () => SOURCE),
    /no section for NewOptions/,
  );
  assert.throws(
    () => createOptionsPage(output([limits]), () => SOURCE),
    /No module exports RealityServerOptions/,
  );
});

test("createOptionsPage() writes name, type, default and meaning of each option", () => {
  const names = [...createNames()];
  const page = createOptionsPage(
    output([
      ...names.filter((name) => name !== "Limits").map((name) => describe(name, {})),
      describe("Limits", {
        size: { doc: "How much\nfits, see {@linkcode Limits}. @default {1024}" },
        keep: { doc: "What is kept.", tags: [{ kind: "default", value: '"all"' }] },
        from: { doc: "Its source." },
        decide: { doc: "Decides.", tags: [{ kind: "unsupported", value: "@default a random answer\n" }] },
      }),
    ]),
    () => SOURCE,
  );
  assert.match(page, /\| `size` \| `number` \| `1024` \| How much fits, see `Limits`\. \|\n/);
  assert.match(page, /\| `keep` \| `"all" \\\| "none"` \| `"all"` \| What is kept\. \|\n/);
  assert.match(page, /\| `from` \| `string \\\| URL` \| {2}\| Its source\. \|\n/);
  assert.match(
    page,
    /\| `decide` \| `\(key: string\) => \{ ok: boolean; why\?: string \}` \| a random answer \| Decides\. \|\n/,
  );
});

/** The interfaces that have a section, found by leaving each out in turn. */
function* createNames(): Generator<string> {
  const symbols = [describe("Limits", {})];
  yield "Limits";
  while (true) {
    try {
      createOptionsPage(output(symbols), () => SOURCE);
      return;
    } catch (error) {
      const [, name = ""] = /No module exports (\w+)/.exec(String(error)) ?? [];
      if (name === "") throw error;
      yield name;
      symbols.push(describe(name, {}));
    }
  }
}
