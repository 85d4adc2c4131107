// hatchway key seal and unseal: the daemon, its guests, and what is left in memory.
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "vitest";
import { openKeyring } from "#vault/keyring";
import { DaemonProcess, endOf } from "#test/kit/daemon-process";
import { COMPILED, GuestNamespace } from "#test/kit/guest-namespace";
import { call } from "#test/kit/http";
import { countInMemory } from "#test/kit/memory";

const SET = "/run/hatchway/secrets";

/** All keys of a daemon's store, and what opens them. */
async function keysOf({ state, keyFile }: DaemonProcess): Promise<Record<string, Buffer>> {
  using ring = await openKeyring(join(state, "keyring.json"), { keyFile });
  if (!ring) throw new Error("the daemon has no keyring");
  const root = /^root ([0-9a-f]{64})$/m.exec(ring.exportKeys().toString())?.[1] ?? "";
  const keys = { root: Buffer.from(root, "hex"), file: readFileSync(keyFile), name: ring.nameKey.bytes };
  const all = { ...keys, audit: ring.auditKey.bytes, "term 1": ring.key(1).bytes, "term 2": ring.key(2).bytes };
  return Object.fromEntries(Object.entries(all).map(([what, key]) => [what, Buffer.from(key)]));
}

async function found(pid: number, keys: Record<string, Buffer>): Promise<Record<string, number>> {
  const counts = await countInMemory(pid, Object.values(keys));
  return Object.fromEntries(Object.keys(keys).map((what, at) => [what, counts[at] ?? 0]));
}

describe("hatchway key seal", () => {
  it("leaves no key in the daemon's memory, and unseal opens all again", async ({ expect }) => {
    await using home = new DaemonProcess();
    const { pid } = await home.serve();
    for (let at = 0; at < 3; at++) await home.ok(["secret", "set", "db"], `value ${at}`);
    await home.ok(["vm", "create", "web", "--secret", "db"]);
    await home.ok(["key", "rotate"]);
    await home.ok(["key", "rewrap"]);
    await home.ok(["key", "add-way", "passphrase", "--passphrase-file", "-"], "correct horse battery");
    const control = join(home.runtime, "vm/web/control.sock");
    expect((await call(control, "GET", "/bundle")).text).toContain("value 2");
    const keys = await keysOf(home);
    const before = await found(pid, keys);
    for (const what of ["root", "name", "audit", "term 1", "term 2"]) expect(before[what], what).toBeGreaterThan(0);

    expect(await home.run(["key", "seal"])).toEqual({
      code: 0,
      stdout: "sealed the keys; VMs keep what they have\n",
      stderr: "hint: open them with: hatchway key unseal\n",
    });
    expect(await found(pid, keys)).toEqual(Object.fromEntries(Object.keys(keys).map((what) => [what, 0])));
    const refused = await home.run(["secret", "set", "db"], "other");
    expect(refused).toMatchObject({
      code: 6,
      stderr: "error: the keys are sealed\nhint: open them with: hatchway key unseal\n",
    });
    expect((await call(control, "GET", "/bundle")).status).toBe(503);
    expect(await home.ok(["status"])).toMatch(/keys +sealed: open them with: hatchway key unseal/);
    expect(await home.ok(["key", "status"])).toMatch(/^sealed: open them with: hatchway key unseal\n\nWAY/);

    const wrong = await home.run(["key", "unseal", "--passphrase-file", "-"], "wrong horse");
    expect(wrong).toMatchObject({ code: 8, stderr: expect.stringContaining("the passphrase does not open") });
    const socket = join(home.runtime, "hatchway.sock");
    const guesses = ["guess 1 of 2", "guess 2 of 2"].map((guess) => {
      return call(socket, "POST", "/keys/unseal?by=passphrase", guess);
    });
    expect((await Promise.all(guesses)).map(({ status }) => status)).toContain(429);
    await expect
      .poll(() => home.run(["key", "unseal", "--passphrase-file", "-"], "correct horse battery\n"))
      .toEqual({
        code: 0,
        stdout: 'opened the keys by the way "passphrase"\n',
        stderr: "",
      });
    expect((await call(control, "GET", "/bundle")).text).toContain("value 2");
    expect(await home.ok(["key", "status"])).toMatch(/^opened by the way "passphrase"\n/);
    expect(await home.ok(["audit", "verify"])).toContain("the audit trail holds");
    expect(await home.ok(["stop"])).toContain(`stopped the daemon, pid ${pid}`);
  });

  it("lets guests keep their set, and a running agent goes on by itself after unseal", async ({ expect }) => {
    await using home = new DaemonProcess();
    await home.serve();
    await home.ok(["secret", "set", "db"], "one");
    await home.ok(["vm", "create", "web", "--secret", "db"]);
    const guest = await GuestNamespace.open();
    try {
      guest.start([...COMPILED.command, "run", "--from", `unix:${join(home.runtime, "vm/web/vsock_5107")}`]);
      await expect.poll(() => read(guest)).toBe("one");
      await home.ok(["key", "seal"]);
      await expect
        .poll(() => guest.run([...COMPILED.command, "status"]))
        .toMatchObject({
          stdout: expect.stringContaining("503"),
        });
      expect(read(guest)).toBe("one");
      await home.ok(["key", "unseal"]);
      await home.ok(["secret", "set", "db"], "two");
      await expect.poll(() => read(guest), { timeout: 20_000 }).toBe("two");
    } finally {
      await guest.close();
    }
  });
});

describe("hatchway serve", () => {
  it("starts sealed when asked to, and binds the sockets of VMs once it is opened", async ({ expect }) => {
    await using home = new DaemonProcess();
    expect(await home.refused({}, ["--sealed"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("there are no keys yet that could be sealed"),
    });
    const first = await home.serve();
    await home.ok(["secret", "set", "db"], "value");
    await home.ok(["vm", "create", "web", "--secret", "db"]);
    await endOf(first, "SIGTERM");
    rmSync(join(home.runtime, "vm"), { recursive: true });
    const { stderr } = await home.serve({}, ["--sealed"]);
    await expect.poll(stderr).toContain("its keys are sealed, open them with: hatchway key unseal");
    const control = join(home.runtime, "vm/web/control.sock");
    expect(existsSync(control)).toBe(false);
    expect(await home.run(["vm", "list"])).toMatchObject({ code: 6 });
    await home.ok(["key", "unseal"]);
    expect((await call(control, "GET", "/bundle")).text).toContain("value");
    expect(statSync(control).mode & 0o777).toBe(0o600);
  });

  it("starts sealed by itself where only a passphrase opens the keys, and there is nobody to ask", async ({
    expect,
  }) => {
    await using home = new DaemonProcess();
    await home.ok(["key", "init", "passphrase", "--session", "--passphrase-file", "-"], "correct horse battery");
    const { stderr } = await home.serve();
    await expect.poll(stderr).toContain("its keys are sealed");
    expect(await home.run(["key", "unseal"])).toMatchObject({
      code: 8,
      stderr: expect.stringContaining("hint: bring what opens them: --passphrase, --identity FILE or --key-file FILE"),
    });
    await home.ok(["key", "unseal", "--passphrase-file", "-"], "correct horse battery");
    await home.ok(["secret", "set", "db"], "value");
    await expect.poll(stderr).toMatch(/the keys were opened by the way "passphrase" in [1-9][0-9]+ ms/);
  });
});

function read(guest: GuestNamespace): string {
  const path = guest.path(`${SET}/db`);
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}
