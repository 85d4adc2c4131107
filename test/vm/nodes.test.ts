// Slicer's routes for VMs, as its clients call them, with real VMs of the minimal guest.
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { node as nodeAnswer } from "#admin/answers";
import type { HostGroupBody, NodeBody } from "#api-vm";
import { call } from "#test/kit/http";
import { Session } from "#test/kit/session";

describe("a host group", () => {
  let session: Session;

  beforeAll(async () => {
    session = await Session.start();
    for (const name of ["one", "two"]) await session.ok(["secret", "create", name], { stdin: `value of ${name}` });
  });
  afterAll(() => session[Symbol.asyncDispose]());

  async function ask(method: string, path: string, body?: object): Promise<{ status: number; json: unknown }> {
    const socket = join(session.runtime, "hatchway.sock");
    const { status, text } = await call(socket, method, path, body && JSON.stringify(body));
    return { status, json: JSON.parse(text) };
  }

  it("launches a VM with the secrets of the list, and answers when they are in place", async ({ expect }) => {
    const made = await ask("POST", "/hostgroup/vm/nodes?wait=agent&timeout=60s", { secrets: ["one"] });
    expect(made.status).toBe(201);
    expect(nodeAnswer.safeParse(made.json).error).toBeUndefined();
    const node = made.json as NodeBody;
    expect(node).toMatchObject({ hostname: "vm-1", hostgroup: "vm", status: "Running", ram_bytes: 268_435_456 });
    expect(Date.parse(node.created_at)).not.toBeNaN();
    expect(await session.guest("vm-1", "ls /run/hatchway/secrets; cat /run/hatchway/secrets/one")).toBe(
      "one\nvalue of one",
    );
  });

  it("gives all secrets where there is no list, and none where it is empty", async ({ expect }) => {
    expect((await ask("POST", "/hostgroup/vm/nodes?wait=agent&timeout=60s", {})).status).toBe(201);
    expect((await session.vm("vm-2")).secrets).toEqual(["one", "two"]);
    expect((await ask("POST", "/hostgroup/vm/nodes", { secrets: [] })).status).toBe(201);
    expect((await session.vm("vm-3")).secrets).toEqual([]);
  });

  it("lists its VMs, and says how many there are", async ({ expect }) => {
    const names = ((await ask("GET", "/hostgroup/vm/nodes")).json as NodeBody[]).map(({ hostname }) => hostname);
    expect(names).toEqual(["vm-1", "vm-2", "vm-3"]);
    expect((await ask("GET", "/nodes")).json).toHaveLength(3);
    expect((await ask("GET", "/hostgroup")).json as HostGroupBody[]).toMatchObject([{ name: "vm", count: 3, cpus: 1 }]);
    expect((await ask("GET", "/hostgroup/other/nodes")).status).toBe(404);
  });

  it("removes a VM that is not ready in time", async ({ expect }) => {
    const late = await ask("POST", "/hostgroup/vm/nodes?wait=agent&timeout=50ms", { secrets: ["one"] });
    expect(late.status).toBe(408);
    expect(late.json).toMatchObject({ code: "timeout" });
    expect((await ask("GET", "/nodes")).json).toHaveLength(3);
  });

  it("ends a VM that is deleted, and only one of its own", async ({ expect }) => {
    const { pid } = await session.vm("vm-3");
    await session.ok(["vm", "create", "other"]);
    expect((await ask("DELETE", "/hostgroup/vm/nodes/other")).status).toBe(404);
    expect((await ask("DELETE", "/hostgroup/vm/nodes/vm-3")).status).toBe(200);
    expect((await ask("DELETE", "/hostgroup/vm/nodes/vm-3")).status).toBe(404);
    expect(() => process.kill(pid ?? 0, 0)).toThrow("ESRCH");
    const names = ((await ask("GET", "/hostgroup/vm/nodes")).json as NodeBody[]).map(({ hostname }) => hostname);
    expect(names).toEqual(["vm-1", "vm-2"]);
  });

  it("refuses what is not in a request for a VM, and makes none", async ({ expect }) => {
    for (const body of [{ secrets: ["missing"] }, { userdata: "#!/bin/sh" }, { secrets: "one" }, { ram_bytes: 1 }]) {
      expect([400, 404]).toContain((await ask("POST", "/hostgroup/vm/nodes", body)).status);
    }
    expect((await ask("GET", "/hostgroup/vm/nodes")).json).toHaveLength(2);
  });
});
