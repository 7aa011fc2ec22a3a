/**
 * Writes `docs/options.md` from the doc comments: `deno task build:options`.
 *
 * @module
 */
import { createOptionsPage } from "./options_page.ts";
import { readDocs } from "./read_docs.ts";

const page = createOptionsPage(await readDocs(), (url) => Deno.readTextFileSync(new URL(url)));
await Deno.writeTextFile("docs/options.md", page);
