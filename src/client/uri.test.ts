import { test } from "vitest";
import { parseTarget } from "./uri.ts";

const env = { HOME: "/home/ada", XDG_RUNTIME_DIR: "/r" };

test("without a URI the session daemon comes before the system's", ({ expect }) => {
  expect(parseTarget(undefined, env, 1000)).toMatchObject({
    sockets: ["/r/hatchway/hatchway.sock", "/run/hatchway/hatchway.sock"],
  });
});

test("each form names one socket", ({ expect }) => {
  expect(parseTarget("secret:///session", env, 1000)).toMatchObject({ sockets: ["/r/hatchway/hatchway.sock"] });
  expect(parseTarget("secret:///system", env, 1000)).toMatchObject({ sockets: ["/run/hatchway/hatchway.sock"] });
  expect(parseTarget("unix:///tmp/a%20b.sock", env, 1000)).toMatchObject({ sockets: ["/tmp/a b.sock"] });
  expect(parseTarget("secret+unix:///session", env, 1000)).toMatchObject({ sockets: ["/r/hatchway/hatchway.sock"] });
  for (const form of ["secret:///system", "secret:///session", "secret+unix:///system", "secret+unix:///session"]) {
    expect(parseTarget(`${form}?socket=/tmp/a%20b.sock`, env, 1000)).toMatchObject({ sockets: ["/tmp/a b.sock"] });
  }
});

test("a store without a daemon has a root, in either form", ({ expect }) => {
  for (const uri of ["embed:///srv/my%20app", "secret:///embed?root=/srv/my%20app"]) {
    expect(parseTarget(uri, env, 1000)).toEqual({ kind: "embedded", root: "/srv/my app" });
  }
});

test.for([
  "secret+ssh://root:hunter2@host/system",
  "secret+tcp://host/system",
  "secret+unix:///embed?root=/x",
  "secret:///other",
  "secret://host/system",
])("%s is refused as not in this version, and not repeated", (uri, { expect }) => {
  const act = (): unknown => parseTarget(uri, env, 1000);
  expect(act).toThrow(expect.objectContaining({ code: "unsupported" }));
  expect(act).not.toThrow(/hunter2/);
});

test.for([
  "http://localhost",
  "http://127.0.0.1:80/secrets",
  "https://a:b@host:1",
  "http://10.0.0.1:80",
  "unix://tmp/x.sock",
  "unix:///%zz",
  "/tmp/x.sock",
  "unix:///a%00b",
  "embed:///",
  "embed://host/x",
  "embed:///a/../b",
  "embed:///a//b",
  "embed:///a/",
  "embed:///a/.",
  "embed:///a/%2e%2e/b",
  "embed:///a%00b",
  "secret:///embed",
  "secret:///embed?root=x",
  "secret:///embed?root=/x&mode=direct",
  "secret:///embed?socket=/x",
  "secret:///system?socket=x",
  "secret:///system?mode=legacy",
  "secret:///system?",
])("%s is no URI of ours", (uri, { expect }) => {
  expect(() => parseTarget(uri, env, 1000)).toThrow(expect.objectContaining({ code: "invalid" }));
});

test("a socket path over 107 bytes is refused with its length", ({ expect }) => {
  const path = `/${"x".repeat(107)}`;
  expect(() => parseTarget(`unix://${path}`, env, 1000)).toThrow(`socket path "${path}" has 108 bytes: at most 107`);
});

test("a network's URI is a host and a port; its files are those given, else those of the environment", ({ expect }) => {
  const named = { ...env, HATCHWAY_TOKEN_FILE: "/t", HATCHWAY_CA_FILE: "/ca", HATCHWAY_KEY_FILE: "" };
  expect(parseTarget("http://127.0.0.1:8080", named, 1000, { token: "/mine" })).toEqual({
    kind: "network",
    secure: false,
    host: "127.0.0.1",
    port: 8080,
    files: { token: "/mine", ca: "/ca" },
  });
  expect(parseTarget("https://[::1]:8443/", env, 1000)).toMatchObject({ secure: true, host: "::1", port: 8443 });
});
