import { scriptDaemon } from "#test/kit/scripted-daemon";
import { test } from "vitest";
import { connect } from "./connect.ts";

const secret = { name: "db", size: 3, permissions: "0600", uid: 0, gid: 0, version: 1, delivery: "file" };

test("a value goes out as it is, with its metadata in the query and the condition in a header", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "PUT /secrets/db/value": [201, secret] });
  const value = Buffer.from([0, 255, 10]);
  const put = await connect(daemon.uri).putSecret("db", "create", value, {
    permissions: "0400",
    file: true,
    on_change: { reload: "nginx.service" },
  });
  expect(put).toEqual({ secret, created: true });
  const [asked] = daemon.asked;
  expect(asked?.body).toEqual(value);
  expect(asked?.headers).toMatchObject({ "if-none-match": "*", "content-type": "application/octet-stream" });
  const query = new URLSearchParams(asked?.path.split("?")[1]);
  expect(Object.fromEntries(query)).toEqual({
    permissions: "0400",
    file: "true",
    on_change: '{"reload":"nginx.service"}',
  });
});

test("update asks for what is there, set for anything", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "PUT /secrets/db/value": [200, secret] });
  const client = connect(daemon.uri);
  await client.putSecret("db", "update", Buffer.from("x"));
  expect(await client.putSecret("db", "set", Buffer.alloc(0))).toEqual({ secret, created: false });
  expect(daemon.asked[0]?.headers["if-match"]).toBe("*");
  expect(daemon.asked[1]?.headers).not.toHaveProperty("if-match");
  expect(daemon.asked[1]?.headers["content-length"]).toBe("0");
});

test("the daemon's errors come back with their code and hint", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    "GET /secrets/db": [404, { error: 'there is no secret "db"', code: "not-found", hint: "create it" }],
  });
  await expect(connect(daemon.uri).secret("db")).rejects.toMatchObject({
    code: "not-found",
    message: 'there is no secret "db"',
    hint: "create it",
  });
});

test("an error without a known code is read from its status", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    "GET /secrets": [409, { error: "taken", code: "E1" }],
    "GET /status": [502, Buffer.from("<html>")],
  });
  const client = connect(daemon.uri);
  await expect(client.secrets()).rejects.toMatchObject({ code: "exists", message: "taken" });
  await expect(client.status()).rejects.toMatchObject({
    code: "internal",
    message: "the daemon answered with status 502",
  });
});

test("no name outside the grammar leaves the client", async ({ expect }) => {
  await using daemon = await scriptDaemon({});
  const client = connect(daemon.uri);
  await expect(client.secret("../x")).rejects.toMatchObject({ code: "invalid" });
  await expect(client.attach("vm", "a/b", {})).rejects.toMatchObject({ code: "invalid" });
  await expect(client.createVm({ name: "" })).rejects.toMatchObject({ code: "invalid" });
  expect(daemon.asked).toEqual([]);
});

test("without a daemon the sockets that were tried are named", async ({ expect }) => {
  const env = { XDG_RUNTIME_DIR: "/nowhere" };
  await expect(connect("secret:///session", env).secrets()).rejects.toMatchObject({
    code: "unavailable",
    message: "no daemon is running: /nowhere/hatchway/hatchway.sock does not answer",
    hint: "start one with: hatchway serve --session",
  });
});

test("a wait is asked for in the query", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "POST /vms": [201, {}], "GET /vms/web": [200, {}] });
  const client = connect(daemon.uri);
  await client.createVm({ name: "web", secrets: [] }, { launch: true, wait: { until: "agent", timeout: 30_000 } });
  await client.vm("web", { until: "synced", timeout: 1500 });
  expect(daemon.asked.map(({ path }) => path)).toEqual([
    "/vms?launch=true&wait=agent&timeout=30s",
    "/vms/web?wait=synced&timeout=1500ms",
  ]);
  expect(JSON.parse(daemon.asked[0]?.body.toString() ?? "")).toEqual({ name: "web", secrets: [] });
});

test("HATCHWAY_URI counts where no URI is given", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /secrets": [200, []] });
  expect(await connect(undefined, { HATCHWAY_URI: daemon.uri }).secrets()).toEqual([]);
});
