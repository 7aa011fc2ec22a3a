/**
 * Varnish as a cache of public keys, with the configuration of docs/proxies.md.
 *
 * @module
 */
import { testCache } from "./cache_kit.ts";
import { withVarnishBefore } from "./varnish.ts";

testCache({
  name: "Varnish",
  shortWaits: [],
  keepsForAnHour: [["set beresp.grace = 0s;\n  set beresp.keep", "set beresp.ttl = 1h;\n  set beresp.keep"]],
  dropsQuery: [[
    "sub vcl_backend_response",
    `sub vcl_hash {
      hash_data(regsub(req.url, "\\?.*", ""));
      return (lookup);
    }
    sub vcl_backend_response`,
  ]],
  with: withVarnishBefore,
});
