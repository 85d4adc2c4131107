import { test } from "vitest";
import { parseTarget } from "./uri.ts";

const env = { HOME: "/home/ada", XDG_RUNTIME_DIR: "/r" };

test("without a URI the session daemon comes before the system's", ({ expect }) => {
  expect(parseTarget(undefined, env, 1000).sockets).toEqual([
    "/r/hatchway/hatchway.sock",
    "/run/hatchway/hatchway.sock",
  ]);
});

test("each form names one socket", ({ expect }) => {
  expect(parseTarget("secret:///session", env, 1000).sockets).toEqual(["/r/hatchway/hatchway.sock"]);
  expect(parseTarget("secret:///system", env, 1000).sockets).toEqual(["/run/hatchway/hatchway.sock"]);
  expect(parseTarget("unix:///tmp/a%20b.sock", env, 1000).sockets).toEqual(["/tmp/a b.sock"]);
});

test.for([
  "secret+ssh://root:hunter2@host/system",
  "secret+tcp://host/system",
  "secret:///embed?root=/x",
  "secret://host/system",
])("%s is refused as not in this version, and not repeated", (uri, { expect }) => {
  const act = (): unknown => parseTarget(uri, env, 1000);
  expect(act).toThrow(expect.objectContaining({ code: "unsupported" }));
  expect(act).not.toThrow(/hunter2/);
});

test.for(["http://localhost", "unix://tmp/x.sock", "unix:///%zz", "/tmp/x.sock", "unix:///a%00b"])(
  "%s is no URI of ours",
  (uri, { expect }) => {
    expect(() => parseTarget(uri, env, 1000)).toThrow(expect.objectContaining({ code: "invalid" }));
  },
);

test("a socket path over 107 bytes is refused with its length", ({ expect }) => {
  const path = `/${"x".repeat(107)}`;
  expect(() => parseTarget(`unix://${path}`, env, 1000)).toThrow(`socket path "${path}" has 108 bytes: at most 107`);
});
