/**
 * nginx as a cache of public keys, with the configuration of docs/proxies.md.
 *
 * @module
 */
import { testCache } from "./cache_kit.ts";
import { withNginxBefore } from "./nginx.ts";

testCache({
  name: "nginx as a cache",
  shortWaits: [['"~^(?<tens>\\d+)\\d\\."', '"~^(?<tens>\\d+)\\."']],
  keepsForAnHour: [
    [
      "proxy_cache reality;",
      "proxy_cache reality; proxy_ignore_headers Cache-Control; proxy_cache_valid 200 1h;",
    ],
    [' $ten_seconds";', '";'],
  ],
  dropsQuery: [["$http_host$request_uri", "$http_host$uri"]],
  with: (origins, edits, run) => withNginxBefore(origins, { cache: true, edits }, run),
});
