// Secrets of the host's own units: what credstore sync has Debian's systemd-creds write, and what it leaves alone.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, afterAll, describe, it } from "vitest";
import { DaemonProcess } from "#test/kit/daemon-process";

const binary = randomBytes(100_000);

describe("credstore sync", () => {
  const host = new DaemonProcess();
  const folder = join(host.folder, "credstore");
  const sync = (...flags: string[]) => host.run(["credstore", "sync", "--dir", folder, "--with-key", "host", ...flags]);
  const opened = (name: string): Buffer =>
    execFileSync("systemd-creds", ["decrypt", `--name=${name}`, join(folder, name), "-"]);
  const files = (): string[] => readdirSync(folder).filter((name) => !name.startsWith("."));

  beforeAll(async () => {
    await host.serve();
    await host.ok(["secret", "create", "db"], "canary-one");
    await host.ok(["secret", "create", "blob"], binary);
    await host.ok(["secret", "create", "other"], "canary-other");
  });
  afterAll(() => host[Symbol.asyncDispose]());

  it("says how to make the VM that stands for this host", async ({ expect }) => {
    const { code, stderr } = await sync();
    expect(code).toBe(3);
    expect(stderr).toBe(
      'error: there is no vm "host", which would stand for this host\n' +
        "hint: make it with: hatchway vm create host --external --runner root\n",
    );
  });

  it("writes what is attached, bound to its name, and no more", async ({ expect }) => {
    await host.ok(["vm", "create", "host", "--external", "--secret", "db", "--secret", "blob"]);
    expect((await sync("--dry-run")).stdout).toContain("would be encrypted");
    expect(files()).toEqual([]);
    const { stdout, stderr } = await sync();
    expect([stdout, stderr]).toEqual([
      "CREDENTIAL  VERSION  DONE\n----------  -------  ----\nblob        1        encrypted\ndb          1        encrypted\n",
      "",
    ]);
    expect(files()).toEqual(["blob", "db"]);
    expect([opened("db").toString(), opened("blob").equals(binary)]).toEqual(["canary-one", true]);
    expect(() =>
      execFileSync("systemd-creds", ["decrypt", "--name=x", join(folder, "db"), "-"], { stdio: "pipe" }),
    ).toThrow("Embedded credential name");
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder)) {
      expect(statSync(join(folder, name)).mode & 0o077).toBe(0);
      expect(readFileSync(join(folder, name), "latin1")).not.toContain("canary");
    }
  });

  it("writes again only what has changed, and opens nothing if nothing has", async ({ expect }) => {
    const blob = readFileSync(join(folder, "blob"));
    await host.ok(["secret", "update", "db"], "canary-two");
    expect((await sync()).stdout).toMatch(/blob +1 +as it was\ndb +2 +encrypted\n$/);
    expect(opened("db").toString()).toBe("canary-two");
    expect(readFileSync(join(folder, "blob")).equals(blob)).toBe(true);
    const exports = (): number => readFileSync(join(host.state, "audit.jsonl"), "utf8").split('"secret.export"').length;
    const before = exports();
    expect((await sync()).stdout).toMatch(/db +2 +as it was\n$/);
    expect(exports()).toBe(before);
  });

  it("knows a secret that was made anew under an old name and number", async ({ expect }) => {
    await host.ok(["secret", "remove", "db"]);
    await host.ok(["secret", "create", "db"], "canary-new");
    await host.ok(["secret", "update", "db"], "canary-newer");
    await host.ok(["vm", "attach", "host", "db"]);
    expect((await sync()).stdout).toMatch(/db +2 +encrypted\n$/);
    expect(opened("db").toString()).toBe("canary-newer");
  });

  it("removes what is attached no more, and touches no file of anybody else", async ({ expect }) => {
    writeFileSync(join(folder, "theirs"), "of somebody else");
    await host.ok(["vm", "detach", "host", "blob"]);
    expect((await sync()).stdout).toMatch(/db +2 +as it was\nblob +removed\n$/);
    expect(files()).toEqual(["db", "theirs"]);
    await host.ok(["vm", "attach", "host", "other"]);
    writeFileSync(join(folder, "other"), "of somebody else");
    const { code, stderr } = await sync();
    expect(code).toBe(4);
    expect(stderr).toBe(
      `error: "${folder}/other" is there, and hatchway has not written it so\n` +
        "hint: move it away, or detach the secret of that name\n",
    );
    expect(readFileSync(join(folder, "other"), "utf8")).toBe("of somebody else");
    await host.ok(["vm", "detach", "host", "other"]);
    writeFileSync(join(folder, "db"), "changed by hand");
    await host.ok(["vm", "detach", "host", "db"]);
    expect((await sync()).stdout).toMatch(/db +left: somebody else has changed it\n$/);
    expect(readFileSync(join(folder, "db"), "utf8")).toBe("changed by hand");
  });

  it("refuses a name that systemd acts on by itself, unless it is allowed", async ({ expect }) => {
    await host.ok(["secret", "create", "tmpfiles.extra"], "f /etc/shadow");
    await host.ok(["vm", "attach", "host", "tmpfiles.extra"]);
    const { code, stderr } = await sync();
    expect([code, existsSync(join(folder, "tmpfiles.extra"))]).toEqual([2, false]);
    expect(stderr).toContain("would be a credential that systemd itself acts on, as root");
    expect((await sync("--allow-reserved")).code).toBe(0);
    expect(existsSync(join(folder, "tmpfiles.extra"))).toBe(true);
  });

  it("leaves what it has where systemd-creds fails", async ({ expect }) => {
    const before = readFileSync(join(folder, "tmpfiles.extra"));
    await host.ok(["secret", "update", "tmpfiles.extra"], "later");
    const { code, stderr } = await host.run([
      "credstore",
      "sync",
      "--dir",
      folder,
      "--with-key",
      "none",
      "--allow-reserved",
    ]);
    expect([code, stderr]).toEqual([9, expect.stringContaining("error: systemd-creds refused: ")]);
    expect(readFileSync(join(folder, "tmpfiles.extra")).equals(before)).toBe(true);
    expect(readdirSync(folder).filter((name) => name.endsWith(".next"))).toEqual([]);
  });
});
