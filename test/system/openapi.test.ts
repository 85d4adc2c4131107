// The document of the admin API: whole in itself, and true of what each route takes and answers.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { afterAll, beforeAll, describe, test } from "vitest";
import { refusal } from "#admin/answers";
import { descriptions } from "#admin/descriptions";
import { Daemon } from "#daemon/daemon";
import { call } from "#test/kit/http";

interface Operation {
  operationId: string;
  summary: string;
  parameters?: { name: string; in: string; required: boolean; schema: unknown }[];
  responses: Record<string, { description: string; content?: Record<string, { schema: unknown }> }>;
}
interface Document {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, unknown> };
}

let folder: string;
let daemon: Daemon;
let socket: string;
let document: Document;

beforeAll(async () => {
  folder = mkdtempSync("/tmp/hw.");
  socket = join(folder, "run/hatchway.sock");
  const places = {
    state: join(folder, "state"),
    config: join(folder, "c/config.yaml"),
    runtime: join(folder, "run"),
    socket,
  };
  daemon = await Daemon.start({ mode: "session", places, echo: false, onFatal: (error) => daemon.log.report(error) });
  document = JSON.parse((await call(socket, "GET", "/openapi.json")).text) as Document;
});
afterAll(async () => {
  await daemon.close();
  rmSync(folder, { recursive: true });
});

function operations(): { route: string; path: string; operation: Operation }[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path}`,
      path,
      operation,
    })),
  );
}

/** The query parameters of a route. */
function parameters(route: string): string[] {
  return (
    operations()
      .find((one) => one.route === route)
      ?.operation.parameters?.filter((one) => one.in === "query")
      .map(({ name }) => name) ?? []
  );
}

/** Every object of a tree. */
function* objects(tree: unknown): Generator<Record<string, unknown>> {
  if (typeof tree !== "object" || tree === null) return;
  if (!Array.isArray(tree)) yield tree as Record<string, unknown>;
  for (const branch of Object.values(tree)) yield* objects(branch);
}

describe("/openapi.json", () => {
  test("is of version 3.1 and whole: routes, parameters, references", ({ expect }) => {
    expect(document.openapi).toBe("3.1.0");
    expect(
      operations()
        .map(({ route }) => route)
        .toSorted(),
    ).toEqual(Object.keys(descriptions).toSorted());
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, operation } of operations()) {
      const named = operation.parameters?.filter((one) => one.in === "path").map(({ name }) => name) ?? [];
      expect(named).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
      for (const one of operation.parameters ?? []) expect(one.schema).toBeTypeOf("object");
      expect(Object.keys(operation.responses).every((code) => /^[2-5]\d\d$/.test(code))).toBe(true);
      expect(Object.keys(operation.responses)).toEqual(expect.arrayContaining(["400", "401", "403", "503"]));
    }
    const references = [...objects(document)].flatMap(({ $ref }) => (typeof $ref === "string" ? [$ref] : []));
    expect(references.length).toBeGreaterThan(10);
    for (const reference of references) {
      const name = reference.replace("#/components/schemas/", "");
      expect(Object.keys(document.components.schemas)).toContain(name);
    }
  });

  test("says which query parameters a route takes", ({ expect }) => {
    expect(parameters("POST /vms")).toEqual(["launch", "wait", "timeout"]);
    expect(parameters("POST /hostgroup/{group}/nodes")).toEqual(["wait", "timeout"]);
    expect(parameters("PUT /secrets/{name}/value")).toEqual(
      expect.arrayContaining(["permissions", "env", "on_change"]),
    );
  });

  test("is true: each route answers with a status and a body that it names", async ({ expect }) => {
    const asked = new Set<string>();
    const ask = async (route: string, target: string, body?: string): Promise<number> => {
      asked.add(route);
      const [method = ""] = route.split(" ");
      const { status, text } = await call(socket, method, target, body);
      const said = operations().find((one) => one.route === route)?.operation.responses[String(status)];
      expect(said, `${route} ${target} answered ${status}: ${text}`).toBeDefined();
      const answer = status < 300 ? descriptions[route]?.answer : refusal;
      if (answer === undefined) expect(text).toBe("");
      else if (typeof answer !== "string")
        expect(answer.safeParse(JSON.parse(text)).error, `${route}: ${text}`).toBeUndefined();
      return status;
    };
    const value = Buffer.from("value").toString("base64");
    const json = JSON.stringify;
    expect(
      await ask("POST /secrets", "/secrets", json({ name: "a", data: value, on_change: { exec: ["/bin/x"] } })),
    ).toBe(201);
    expect(await ask("POST /secrets", "/secrets", json({ name: "a", data: value }))).toBe(409);
    expect(await ask("PUT /secrets/{name}/value", "/secrets/b/value?env=B_TOKEN", "v")).toBe(201);
    expect(await ask("PUT /secrets/{name}/value", "/secrets/b/value", "w")).toBe(200);
    expect(await ask("PUT /secrets/{name}/value", "/secrets/b/value?mode=1", "w")).toBe(400);
    expect(await ask("GET /secrets", "/secrets")).toBe(200);
    expect(await ask("GET /secrets/{name}", "/secrets/a")).toBe(200);
    expect(await ask("PATCH /secrets/{name}", "/secrets/a", json({ owner: "app", link: "/srv/a" }))).toBe(200);
    expect(await ask("PATCH /secrets/{name}", "/secrets/missing", json({ uid: 1 }))).toBe(404);

    expect(await ask("POST /vms", "/vms", json({ name: "web-1", secrets: ["a"], launch: { cpus: 2 } }))).toBe(201);
    expect(await ask("POST /vms", "/vms", json({ name: "web-1" }))).toBe(409);
    expect(await ask("POST /vms/{name}/image", "/vms/web-1/image", json({ format: "erofs", label: "WEB" }))).toBe(200);
    expect(await ask("POST /vms/{name}/token", "/vms/web-1/token", json({ reboots: 1 }))).toBe(409);
    expect(await ask("POST /vms", "/vms", json({ name: "web-9" }))).toBe(201);
    expect(await ask("POST /vms/{name}/token", "/vms/web-9/token", json({ reboots: 1 }))).toBe(200);
    expect(await ask("POST /vms/{name}/token", "/vms/web-1/token", json({ reboots: -1 }))).toBe(400);
    expect(await ask("POST /vms/{name}/image", "/vms/web-1/image", json({ format: "ext4" }))).toBe(400);
    const push = { revision: "0.0.0", mount: "tmpfs" };
    expect(await ask("POST /vms/{name}/push", "/vms/web-1/push", json(push))).toBe(400);
    expect(await ask("POST /vms/{name}/image", "/vms/web-1/image", json({ format: "tar", wait: 61 }))).toBe(400);
    const wiring = "GET /vms/{name}/arguments";
    expect(await ask("POST /vms", "/vms", json({ name: "own", secrets: ["a"] }))).toBe(201);
    expect(await ask(wiring, "/vms/own/arguments?vmm=libvirt&channel=disk&file=/dev/shm/own.img")).toBe(200);
    expect(await ask(wiring, "/vms/web-1/arguments?vmm=firecracker")).toBe(400);
    expect(await ask("GET /vms/{name}/channels", "/vms/own/channels?guest=systemd&systemd=257&qemu=7.2")).toBe(200);
    expect(await ask("GET /vms/{name}/channels", "/vms/own/channels?qemu=seven")).toBe(400);
    const own = JSON.stringify({ pid: process.pid });
    expect(await ask("POST /vms/{name}/process", "/vms/own/process", own)).toBe(200);
    expect(await ask("POST /vms/{name}/process", "/vms/web-1/process", own)).toBe(400);
    expect(await ask("GET /vms", "/vms")).toBe(200);
    expect(await ask("GET /vms/{name}", "/vms/web-1")).toBe(200);
    expect(await ask("GET /vms/{name}", "/vms/web-1?wait=agent&timeout=5ms")).toBe(408);
    expect(await ask("GET /vms/{name}/logs", "/vms/web-1/logs")).toBe(200);
    expect(await ask("POST /vms/{name}/start", "/vms/missing/start")).toBe(404);
    expect(await ask("POST /vms/{name}/stop", "/vms/web-1/stop")).toBe(409);
    expect(await ask("PUT /vms/{name}/secrets/{secret}", "/vms/web-1/secrets/b", json({ env: "OTHER" }))).toBe(200);
    expect(await ask("GET /vms/{name}/secrets", "/vms/web-1/secrets")).toBe(200);
    expect(await ask("GET /secrets/{name}/vms", "/secrets/a/vms")).toBe(200);
    const pin = "DELETE /vms/{name}/secrets/{secret}/pin";
    expect(await ask("PUT /vms/{name}/secrets/{secret}", "/vms/web-1/secrets/b", json({ pin: true }))).toBe(200);
    expect(await ask("GET /secrets/{name}/history", "/secrets/b/history")).toBe(200);
    expect(await ask("POST /secrets/{name}/rollback", "/secrets/b/rollback", json({ to: 1 }))).toBe(200);
    expect(await ask("POST /secrets/{name}/rollback", "/secrets/b/rollback", json({ to: 9 }))).toBe(404);
    expect(await ask("GET /vms/{name}/secrets", "/vms/web-1/secrets")).toBe(200);
    expect(await ask(pin, "/vms/web-1/secrets/b/pin")).toBe(200);
    expect(await ask(pin, "/vms/web-1/secrets/b/pin")).toBe(400);
    expect(await ask("POST /secrets/{name}/rename", "/secrets/b/rename", json({ to: "a" }))).toBe(409);
    expect(await ask("POST /secrets/{name}/rename", "/secrets/b/rename", json({ to: "c" }))).toBe(200);
    const said = json({ description: "what it is", labels: { team: "db" }, default: true });
    expect(await ask("PATCH /secrets/{name}", "/secrets/c", said)).toBe(200);
    expect(await ask("DELETE /vms/{name}/secrets/{secret}", "/vms/web-1/secrets/c")).toBe(204);

    expect(await ask("GET /hostgroup", "/hostgroup")).toBe(200);
    expect(await ask("GET /hostgroup/{group}/nodes", "/hostgroup/vm/nodes")).toBe(200);
    expect(await ask("GET /nodes", "/nodes")).toBe(200);
    const nodes = "POST /hostgroup/{group}/nodes";
    expect(await ask(nodes, "/hostgroup/vm/nodes", json({ secrets: ["missing"] }))).toBe(404);
    expect(await ask("DELETE /hostgroup/{group}/nodes/{host}", "/hostgroup/vm/nodes/web-1")).toBe(404);

    const recipient = await identityToRecipient(await generateIdentity());
    expect(await ask("GET /keys", "/keys")).toBe(200);
    expect(await ask("POST /keys/ways/{way}", "/keys/ways/paper?kind=passphrase", "a long passphrase")).toBe(201);
    expect(await ask("POST /keys/ways/{way}", "/keys/ways/paper?kind=passphrase", "a long passphrase")).toBe(409);
    expect(await ask("DELETE /keys/ways/{way}", "/keys/ways/paper")).toBe(204);
    expect(await ask("DELETE /keys/ways/{way}", "/keys/ways/paper")).toBe(404);
    expect(await ask("POST /keys/rotate", "/keys/rotate")).toBe(201);
    expect(await ask("GET /keys/rewrap", "/keys/rewrap")).toBe(200);
    expect(await ask("DELETE /keys/terms/{term}", "/keys/terms/2")).toBe(409);
    expect(await ask("POST /keys/rewrap", "/keys/rewrap")).toBe(200);
    expect(await ask("POST /keys/backup", "/keys/backup", json({ recipient }))).toBe(200);
    expect(await ask("POST /keys/backup", "/keys/backup", json({ recipient: "nobody" }))).toBe(400);
    expect(await ask("GET /backup", "/backup?secrets=a")).toBe(200);
    expect(await ask("GET /backup", "/backup?secrets=missing")).toBe(404);
    expect(await ask("POST /backup", `/backup?recipients=${recipient}`)).toBe(200);
    expect(await ask("POST /backup", "/backup")).toBe(400);
    expect(await ask("POST /restore", "/restore", "no backup")).toBe(500);

    expect(await ask("GET /audit", "/audit?lines=1")).toBe(200);
    expect(await ask("GET /audit/export", "/audit/export?op=secret.*&since=2026-01-01T00:00:00Z")).toBe(200);
    expect(await ask("GET /audit/verify", "/audit/verify")).toBe(200);

    expect(await ask("GET /whoami", "/whoami")).toBe(200);
    expect(await ask("GET /can", "/can?verb=attach&secret=a&vm=web-1")).toBe(200);
    expect(await ask("GET /can", "/can?verb=start&secret=a")).toBe(400);
    expect(await ask("GET /status", "/status")).toBe(200);
    expect(await ask("GET /logs", "/logs?lines=1")).toBe(200);
    expect(await ask("DELETE /vms/{name}", "/vms/web-1")).toBe(204);
    expect(await ask("DELETE /secrets/{name}", "/secrets/a")).toBe(200);

    expect(await ask("POST /keys/unseal", "/keys/unseal")).toBe(409);
    expect(await ask("POST /keys/seal", "/keys/seal")).toBe(204);
    expect(await ask("POST /keys/seal", "/keys/seal")).toBe(503);
    expect(await ask("GET /keys", "/keys")).toBe(200);
    expect(await ask("GET /status", "/status")).toBe(200);
    expect(await ask("POST /keys/unseal", "/keys/unseal?by=key-file", "short")).toBe(500);
    expect(await ask("POST /keys/unseal", "/keys/unseal?by=key-file", "again")).toBe(429);
    expect(await ask("POST /keys/unseal", "/keys/unseal")).toBe(429);
    expect([...asked].toSorted()).toEqual(Object.keys(descriptions).toSorted());
  });
});

test("/docs shows every route, runs nothing and fetches nothing", async ({ expect }) => {
  const { status, headers, text } = await call(socket, "GET", "/docs");
  expect(status).toBe(200);
  expect(headers["content-type"]).toMatch(/^text\/html/);
  expect(headers["content-security-policy"]).toContain("default-src 'none'");
  for (const { route, operation } of operations()) {
    expect(text).toContain(`<h3>${route}</h3>`);
    expect(text).toContain(operation.summary);
  }
  expect(text).not.toMatch(/<script|<link|<img|@import|url\(|src=|https?:/);
});
