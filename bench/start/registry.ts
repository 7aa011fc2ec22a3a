/**
 * A JSR registry that has one package: this one. A start of an application on Deno is measured with it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** A registry that runs. */
export interface Registry {
  /** What Deno is given as `JSR_URL`. */
  readonly url: string;
  /** What an application imports. */
  readonly specifier: string;
  /** Ends it. */
  close(): void;
}

/**
 * Serves the package as JSR does: TypeScript, in as many files as it was written in.
 *
 * @param root The folder of `deno.json`.
 */
export async function serveRegistry(root: string): Promise<Registry> {
  const { name, version, exports } = JSON.parse(readFileSync(`${root}deno.json`, "utf8"));
  const files = new Map<string, Uint8Array>(
    globSync(["mod.ts", "{adapters,cli,client,src,storage}/**/*.ts"], { cwd: root })
      .map((path) => [`/${path}`, readFileSync(`${root}${path}`)]),
  );
  const manifest = Object.fromEntries([...files].map(([path, bytes]) => {
    const checksum = `sha256-${createHash("sha256").update(bytes).digest("hex")}`;
    return [path, { size: bytes.length, checksum }];
  }));
  const server = createServer(({ url = "" }, response) => {
    const answers: Record<string, unknown> = {
      [`/${name}/meta.json`]: { latest: version, versions: { [version]: {} } },
      [`/${name}/${version}_meta.json`]: { manifest, exports },
    };
    if (answers[url]) return response.end(JSON.stringify(answers[url]));
    const file = files.get(url.replace(`/${name}/${version}`, ""));
    response.writeHead(file ? 200 : 404, { "content-type": "application/typescript" }).end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    specifier: `jsr:${name}@${version}`,
    close: () => server.close(),
  };
}
