/**
 * A worker that holds any number of servers, each of its own scene and under its own base path: on memory, on D1, on
 * the SQLite of a Durable Object, or on a database that is reached through HTTP.
 *
 * @module
 */
import {
  createFetchHandler,
  type FetchHandler,
  MemoryStorage,
  RealityServer,
  type RealityServerOptions,
} from "../../mod.ts";
import { type SQLQuery, SQLStorage } from "../../storage/sql/sql_storage.ts";
import { createScene, operate, type Operation, type Scene, type SceneName } from "../http/scenes.ts";

/** The storage of a scene. */
export type WorkerDatabase = "memory" | "d1" | "object" | "http";

/** The requests of the test itself. */
export type WorkerOrder =
  | { open: SceneName; basePath: string; database: WorkerDatabase; requestScopedIO: boolean }
  | { operation: Operation; basePath: string };

/** The bindings of the worker, as far as they are used. */
interface Bindings {
  readonly D1: {
    prepare(sql: string): { bind(...params: unknown[]): { all(): Promise<{ results: object[] }> } };
  };
  readonly OBJECT: {
    idFromName(name: string): unknown;
    get(id: unknown): { fetch(request: Request): Promise<Response> };
  };
  /** The address of a database that takes `{ sql, params }` and gives rows. */
  readonly HTTP_DATABASE: string;
}

/** As much of a Durable Object's state as is used. */
interface ObjectState {
  readonly storage: { readonly sql: { exec(sql: string, ...params: unknown[]): { toArray(): object[] } } };
}

// Created while the worker starts, as in an application, where timers and random numbers are not allowed.
const early = createFetchHandler(new RealityServer({ storage: new MemoryStorage() }));

/** The servers of a worker, or of a Durable Object. */
class Servers {
  readonly #scenes = new Map<string, { scene: Scene; handler: FetchHandler }>();
  readonly #createQuery: (database: WorkerDatabase) => SQLQuery;

  constructor(createQuery: (database: WorkerDatabase) => SQLQuery) {
    this.#createQuery = createQuery;
  }

  async fetch(request: Request, bindings: unknown = {}, ctx?: unknown): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/order")) return Response.json(await this.#obey(await request.json()) ?? null);
    const found = [...this.#scenes].find(([basePath]) => pathname.startsWith(`${basePath}/`));
    return await (found?.[1].handler ?? early)(request, bindings, ctx);
  }

  async #obey(order: WorkerOrder): Promise<unknown> {
    const { basePath } = order;
    if ("open" in order) {
      const scene = createScene(order.open, basePath, this.#createOptions(order));
      this.#scenes.set(basePath, { scene, handler: createFetchHandler(scene.server, scene.handler) });
      return;
    }
    const found = this.#scenes.get(basePath);
    return found && await operate(found.scene, order.operation);
  }

  #createOptions(
    { open, database, requestScopedIO, basePath }: Extract<WorkerOrder, { open: SceneName }>,
  ): Partial<RealityServerOptions> {
    if (database === "memory") return { requestScopedIO };
    const tableName = basePath.replaceAll(/\W/g, "_");
    const query = this.#createQuery(database);
    const storage = new SQLStorage({ query, dialect: "sqlite", tableName, requestScopedIO });
    // Where time runs fast, no statement would be quick enough.
    return { storage, requestScopedIO, ...(open === "fast" ? { storageTimeout: 3_600_000 } : {}) };
  }
}

/** A Durable Object with servers on its own SQLite. */
export class ServerObject {
  readonly #servers: Servers;

  constructor({ storage: { sql } }: ObjectState) {
    this.#servers = new Servers(() => (text, params) => sql.exec(text, ...params).toArray());
  }

  fetch(request: Request): Promise<Response> {
    return this.#servers.fetch(request);
  }
}

let servers: Servers | undefined;

const worker: { fetch(request: Request, bindings: Bindings, ctx: unknown): Promise<Response> } = {
  async fetch(request, bindings, ctx) {
    const { D1, OBJECT, HTTP_DATABASE } = bindings;
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/object")) {
      return await OBJECT.get(OBJECT.idFromName("servers")).fetch(request);
    }
    servers ??= new Servers((database) =>
      database === "d1"
        ? async (sql, params) => {
          // One that is in this very process answers sooner than requests could overlap.
          await new Promise((resolve) => setTimeout(resolve, 3));
          return (await D1.prepare(sql).bind(...params).all()).results;
        }
        : async (sql, params) => {
          const response = await fetch(HTTP_DATABASE, {
            method: "POST",
            body: JSON.stringify({ sql, params }),
          });
          return await response.json();
        }
    );
    return await servers.fetch(request, bindings, ctx);
  },
};

export default worker;
