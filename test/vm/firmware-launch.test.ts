// vm launch --firmware, as a user types it: the secrets are there without any live channel.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const binary = randomBytes(3_000);

describe("a VM with its secrets in its firmware", () => {
  let session: Session;
  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: "canary-in-firmware" });
    await session.ok(["secret", "create", "binary"], { stdin: binary });
    await session.ok(["secret", "create", "tmpfiles.extra"], { stdin: "f /etc/x" });
  });
  afterAll(() => session[Symbol.asyncDispose]());

  const shell = (vm: string, script: string): Promise<string> =>
    session.ok(["vm", "shell", vm, "--", "sh", "-c", script]);
  const secrets = ["--secret", "db", "--secret", "binary"];

  it("has them by its agent, at each start as they are then", async ({ expect }) => {
    const words = ["--firmware", "fw-cfg", "--append", "hatchway.from=fw-cfg"];
    await session.ok(["vm", "launch", "v1", ...secrets, ...words]);
    const look =
      "until [ -e /run/hatchway/secrets/db ]; do sleep 0.1; done; cd /run/hatchway/secrets && stat -c '%n %a %u %s' * && cat db";
    expect(await shell("v1", look)).toBe("binary 600 0 3000\ndb 440 1000 18\ncanary-in-firmware");
    const { pid = 0 } = await session.vm("v1");
    for (const file of ["cmdline", "environ"])
      expect(readFileSync(`/proc/${pid}/${file}`, "latin1")).not.toContain("canary");
    expect((await session.ok(["vm", "show", "v1"])).replaceAll(/ +/g, " ")).toContain("secrets in fw-cfg, for agent");
    await session.ok(["vm", "stop", "v1"]);
    await session.ok(["secret", "update", "db"], { stdin: "canary-two" });
    await session.ok(["vm", "start", "v1"]);
    expect(await shell("v1", look)).toBe("binary 600 0 3000\ndb 440 1000 10\ncanary-two");
    await session.ok(["vm", "remove", "v1"]);
  });

  it("has a credential for each by SMBIOS, and its loss is in the log", async ({ expect }) => {
    await session.ok(["vm", "launch", "v2", ...secrets, "--firmware", "smbios", "--credentials"]);
    const table = Buffer.from(await shell("v2", "base64 /sys/firmware/dmi/entries/11-0/raw"), "base64");
    expect(table.subarray(5, -2).toString("latin1").split("\0")).toEqual([
      `io.systemd.credential.binary:binary=${binary.toString("base64")}`,
      "io.systemd.credential:db=canary-two",
    ]);
    expect(await session.ok(["logs"])).toContain(
      'vm "v2" has its secrets by smbios, which does not bring: owners, modes',
    );
    await session.ok(["vm", "remove", "v2"]);
    const lines = readFileSync(join(session.state, "audit.jsonl"), "utf8");
    expect(lines).not.toContain("canary");
    expect(lines).toMatch(/"op":"secret.disclose"[^\n]*"secret":"db"[^\n]*"vm":"v2"/);
  });

  it("is refused with the reason, and nothing is left, where that way can't carry them", async ({ expect }) => {
    await session.ok(["secret", "create", "large"], { stdin: Buffer.alloc(66_000, "x") });
    const refusals: [words: string[], text: string][] = [
      [["--secret", "large", "--firmware", "smbios"], "bytes of SMBIOS strings, and there is room for 65215"],
      [["--secret", "tmpfiles.extra", "--firmware", "fw-cfg", "--credentials"], "that systemd itself acts on, as root"],
      [["--secret", "db", "--firmware", "acpi"], '"acpi" is neither fw-cfg nor smbios'],
      [["--secret", "db", "--credentials"], "are of --firmware, which is not given"],
    ];
    for (const [words, text] of refusals) {
      const { code, stderr } = await session.run(["vm", "launch", "v3", ...words]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(text)]);
      expect((await session.run(["vm", "show", "v3"])).code).toBe(3);
    }
  });
});
