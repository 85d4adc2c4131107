// vm launch --secrets-disk, as a user types it: the secrets are on a disk that is nowhere but in memory.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const formats = [{ format: "erofs" }, { format: "squashfs" }, { format: "sealed" }];

describe("a VM with its secrets on a disk", () => {
  let session: Session;
  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: "canary-on-disk" });
    await session.ok(["secret", "create", "token", "--env", "TOKEN"], { stdin: "canary-token" });
  });
  afterAll(() => session[Symbol.asyncDispose]());

  const shell = (vm: string, script: string): Promise<string> =>
    session.ok(["vm", "shell", vm, "--", "sh", "-c", script]);
  const secrets = ["--secret", "db", "--secret", "token", "--append", "hatchway.from=serial:HATCHWAY"];
  const launch = (vm: string, format: string): Promise<string> =>
    session.ok(["vm", "launch", vm, ...secrets, "--secrets-disk", format]);
  const look =
    "until [ -e /run/hatchway/secrets/db ]; do sleep 0.1; done; cd /run/hatchway/secrets && stat -c '%n %a %u %s' db && cat db";

  it.for(formats)(
    "has them by its agent, on a disk that it can only read, in $format",
    async ({ format }, { expect }) => {
      await launch("v1", format);
      expect(await shell("v1", look)).toBe("db 440 1000 14\ncanary-on-disk");
      expect(await shell("v1", "hatchway-agent exec -- sh -c 'echo $TOKEN'")).toBe("canary-token\n");
      expect(await shell("v1", "cat /sys/block/vda/serial /sys/block/vda/ro")).toBe("HATCHWAY1\n");
      expect(await session.ok(["vm", "show", "v1"])).toContain(`secrets on a disk, ${format}`);
      const { pid = 0 } = await session.vm("v1");
      for (const file of ["cmdline", "environ"]) {
        expect(readFileSync(`/proc/${pid}/${file}`, "latin1")).not.toContain("canary");
      }
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
      expect(open.filter((path) => path.startsWith("/memfd:hatchway-boot"))).not.toEqual([]);
      const isSealed = format === "sealed";
      expect(await shell("v1", "grep -q canary-on-disk /dev/vda && echo open || echo sealed")).toBe(
        isSealed ? "sealed\n" : "open\n",
      );
      const key = "cat /sys/firmware/qemu_fw_cfg/by_name/opt/org.hatchway/key/raw 2>/dev/null | cut -c -16";
      expect(await shell("v1", key)).toBe(isSealed ? "AGE-SECRET-KEY-1\n" : "");
      await session.ok(["vm", "remove", "v1"]);
    },
  );

  it("has them at each start as they are then", async ({ expect }) => {
    await launch("v2", "iso");
    expect(await shell("v2", look)).toBe("db 440 1000 14\ncanary-on-disk");
    await session.ok(["vm", "stop", "v2"]);
    await session.ok(["secret", "update", "db"], { stdin: "canary-two" });
    await session.ok(["vm", "start", "v2"]);
    expect(await shell("v2", look)).toBe("db 440 1000 10\ncanary-two");
    expect(await session.ok(["logs"])).toContain('vm "v2" has its secrets on a disk, which does not bring: changes');
    await session.ok(["vm", "remove", "v2"]);
  });

  it("is refused what is no disk, or is one way too many", async ({ expect }) => {
    const refusals: [words: string[], text: string][] = [
      [["--secrets-disk", "ext4"], '--secrets-disk "ext4" is none of erofs, squashfs, iso, sealed'],
      [["--secrets-disk", "iso", "--firmware", "smbios"], "are two ways of which a VM has one"],
    ];
    for (const [words, text] of refusals) {
      const { code, stderr } = await session.run(["vm", "launch", "v3", "--secret", "db", ...words]);
      expect([code, stderr]).toEqual([2, expect.stringContaining(text)]);
    }
    expect((await session.run(["vm", "show", "v3"])).code).toBe(3);
  });
});
