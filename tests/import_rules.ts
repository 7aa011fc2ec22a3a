/**
 * Which folders of `src` may import which. `layout_test.ts` enforces it, and `src/README.md` has it as a table.
 *
 * @module
 */

/**
 * What files of each folder of `src` may import besides their own folder. "." stands for the files directly in `src`,
 * except those of {@linkcode BUILDERS}.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  ".": [".", "store", "limits", "telemetry", "redis", "sync"],
  telemetry: ["."],
  limits: [".", "telemetry"],
  store: [".", "limits", "telemetry"],
  sync: [".", "limits", "telemetry", "store"],
  http: [".", "limits", "telemetry", "store", "sync"],
  sse: [".", "limits", "telemetry", "store", "sync", "http", "scope"],
  stamp: [".", "store", "sync", "http"],
  mesh: [".", "store"],
  redis: ["."],
  scope: [".", "limits", "telemetry", "store", "sync"],
};

/** Files that connect all parts and may import every file of `src`. */
export const BUILDERS: readonly string[] = [
  "src/server.ts",
  "src/create_server.ts",
  "src/create_mesh.ts",
  "src/optional_modules.ts",
];
