import assert from "node:assert/strict";
import { createRequest, pathOf, queryOf } from "../../../src/http/target.ts";
import { test } from "../../harness.ts";

test("pathOf() returns the path of a target and of an absolute URL", () => {
  assert.equal(pathOf("/a/b?c=/d#e"), "/a/b");
  assert.equal(pathOf("/a#?b"), "/a");
  assert.equal(pathOf("http://host/a/b?c"), "/a/b");
  assert.equal(pathOf("http://[/a"), "/a");
  for (const target of ["http://host", "http://host?x=/a", "http://host#/a"]) {
    assert.equal(pathOf(target), "/", target);
  }
  for (const target of ["*", "", "://", "?", "#"]) assert.equal(pathOf(target), "/", target);
});

test("queryOf() keeps broken percent-encoding", () => {
  assert.deepEqual([...queryOf("/a?keys=%&keys=%zz&b#keys=c")], [["keys", "%"], ["keys", "%zz"], ["b", ""]]);
  assert.deepEqual([...queryOf("/a")], []);
});

test("createRequest() creates a valid URL from any target and host", () => {
  const urls: [target: string, host: string | undefined, url: string][] = [
    ["/a?b=c", "shop.example:8080", "http://shop.example:8080/a?b=c"],
    ["/a", undefined, "http://localhost/a"],
    ["/a", "user:password@shop.example", "http://shop.example/a"],
    ["/a", "[::1", "http://localhost/a"],
    ["/a", "evil.example/b?c#d", "http://evil.example/a"],
    ["//evil.example/a", "shop.example", "http://shop.example//evil.example/a"],
    ["http://user:password@other.example/a", "shop.example", "http://other.example/a"],
    ["http://[/a?b", "shop.example", "http://shop.example/a?b"],
    ["http://other.example:99999/a", "shop.example", "http://shop.example/a"],
    ["javascript://other.example/a", "shop.example", "http://shop.example/a"],
    ["*", "shop.example", "http://shop.example/"],
  ];
  for (const [url, host, expected] of urls) {
    const request = createRequest({ url, headers: { host, "x-many": ["1", "2"] } });
    assert.equal(request.url, expected, `${url} at ${host}`);
    assert.equal(request.headers.get("x-many"), "1, 2");
  }
});

test("createRequest() reads the host of HTTP/2 and skips its other pseudo-headers", () => {
  const headers = { ":authority": "shop.example", ":path": "/a", cookie: "a=1" };
  const request = createRequest({ method: "DELETE", url: "/a", headers });
  assert.deepEqual([request.method, request.url], ["DELETE", "http://shop.example/a"]);
  assert.deepEqual([...request.headers], [["cookie", "a=1"]]);
});
