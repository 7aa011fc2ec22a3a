/**
 * Reads the JSON of a request.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";
import type { IncomingRequest } from "./exchange.ts";
import type { HandlerDeps } from "./route.ts";

/**
 * Checks the media type of a request and reads its body.
 *
 * @throws {RefusalError} `MEDIA_TYPE` if it is not JSON by its header; otherwise rejects with what reading throws.
 */
export function readJSON(
  request: IncomingRequest,
  { admission: { limits, bodies } }: Pick<HandlerDeps, "admission">,
): Promise<unknown> {
  const type = request.header("content-type");
  // Most clients send exactly this.
  if (
    type !== "application/json" &&
    (type === null || !/^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i.test(type))
  ) {
    const found = type === null ? "none" : JSON.stringify(type.slice(0, 100));
    throw new RefusalError(
      "ERR_REALITY_MEDIA_TYPE",
      `Cannot read the body: expected application/json, got ${found}`,
    );
  }
  return request.readJSON(limits.maxBodyBytes, bodies);
}
