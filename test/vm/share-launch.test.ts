// vm launch --share, as a user types it: a folder that follows every change for as long as the VM runs.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import { genericGuestFolder, guestFiles } from "#test/kit/guest";
import { Session } from "#test/kit/session";

const SECRETS = "/run/hatchway/secrets";
const secrets = ["--secret", "db", "--secret", "token"];

describe("a VM with a share", () => {
  let session: Session;
  /** Where a user's runtime folder is: a plain share is nowhere else. */
  let memory: string;
  beforeAll(async () => {
    memory = mkdtempSync("/dev/shm/hw.");
    session = new Session();
    session.env["XDG_RUNTIME_DIR"] = memory;
    await session.serve();
    await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: "canary-one" });
    await session.ok(["secret", "create", "token", "--env", "TOKEN"], { stdin: "canary-token" });
  });
  afterAll(async () => {
    await session[Symbol.asyncDispose]();
    rmSync(memory, { recursive: true });
  });

  const folder = (vm: string): string => join(memory, "hatchway/vm", vm, "share");

  it("by virtiofs has one sealed file, whose key root alone finds, and follows over a restart of the daemon", async ({
    expect,
  }) => {
    await session.ok(["vm", "launch", "v1", ...secrets, "--share", "virtiofs"]);
    const there = `until [ -e ${SECRETS}/db ]; do sleep 0.1; done; stat -c '%a %u' ${SECRETS}/db; cat ${SECRETS}/db`;
    expect(await session.guest("v1", there)).toBe("440 1000\ncanary-one");
    expect(await session.guest("v1", "hatchway-agent exec -- sh -c 'echo $TOKEN'; ls /run/share")).toBe(
      "canary-token\nbundle.age\n",
    );
    const key = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.hatchway/key/raw";
    expect(await session.guest("v1", `stat -c '%a %u' ${key}; su app -c 'cat ${key}' 2>/dev/null || echo no`)).toBe(
      "400 0\nno\n",
    );
    expect(readFileSync(join(folder("v1"), "bundle.age"), "latin1")).not.toContain("canary");
    const { pid = 0 } = await session.vm("v1");
    expect(readFileSync(`/proc/${pid}/cmdline`, "latin1")).not.toMatch(/canary|AGE-SECRET/);
    expect(await session.ok(["vm", "show", "v1"])).toContain("secrets in a sealed share by virtiofs");

    await session.ok(["secret", "update", "db"], { stdin: "canary-two" });
    await session.guest("v1", `until [ "$(cat ${SECRETS}/db)" = canary-two ]; do sleep 0.1; done`);
    await session.end("SIGTERM");
    await session.serve();
    await session.ok(["secret", "update", "db"], { stdin: "canary-three" });
    await session.ok(["vm", "detach", "v1", "token"]);
    const after = `until [ "$(cat ${SECRETS}/db)" = canary-three ] && [ ! -e ${SECRETS}/.hatchway/values/TOKEN ]; do sleep 0.1; done`;
    await session.guest("v1", after);

    await session.ok(["vm", "stop", "v1", "--grace", "1ms"]);
    while (existsSync(folder("v1"))) await sleep(20);
    await session.ok(["vm", "start", "v1"]);
    expect(await session.guest("v1", there)).toBe("440 1000\ncanary-three");
    await session.ok(["vm", "remove", "v1"]);
    expect(readdirSync(join(memory, "hatchway/shares"))).toEqual([]);
    expect(serversOf("v1")).toEqual([]);
  });

  it("by 9p has plain files from QEMU itself, with a kernel that has the driver", async ({ expect }) => {
    const { kernel, initrd = "" } = guestFiles(genericGuestFolder);
    const own = ["--kernel", kernel, "--initrd", initrd, "--append", "hatchway.share=9p"];
    await session.ok(["vm", "launch", "v2", "--secret", "db", "--share", "9p", "--plain", ...own]);
    const console = async (text: RegExp): Promise<void> => {
      while (!text.test(await session.ok(["vm", "logs", "v2"]))) await sleep(100);
    };
    await console(/1 secret, revision \w+\.\d+\.1\b/);
    await session.ok(["vm", "attach", "v2", "token"]);
    await console(/2 secrets, revision \w+\.\d+\.2\b/);
    const files = join(folder("v2"), "files");
    expect((statSync(join(files, readFileSync(join(files, "current"), "latin1"), "db")).mode & 0o777).toString(8)).toBe(
      "640",
    );
    await session.ok(["vm", "remove", "v2"]);
    expect(existsSync(folder("v2"))).toBe(false);
  });

  it("is refused what it cannot have", async ({ expect }) => {
    const refusals: [words: string[], code: number, text: string][] = [
      [["--share", "nfs"], 2, '--share "nfs" is neither 9p nor virtiofs'],
      [["--share", "smb"], 2, "vm launch keeps QEMU from starting programs"],
      [["--plain"], 2, "--plain is of --share, which is not given"],
      [["--share", "9p", "--secrets-disk", "iso"], 2, "--share and --secrets-disk are two ways of which a VM has one"],
      [["--share", "9p"], 9, "the kernel of the minimal guest has no 9p"],
    ];
    for (const [words, expected, text] of refusals) {
      const { code, stderr } = await session.run(["vm", "launch", "v3", "--secret", "db", ...words]);
      expect([code, stderr]).toEqual([expected, expect.stringContaining(text)]);
    }
    expect((await session.run(["vm", "show", "v3"])).code).toBe(3);
  });
});

/** The processes that serve a VM's share. */
function serversOf(vm: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(commandLine)
    .filter((line) => line.includes("virtiofsd") && line.includes(`/vm/${vm}/`));
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch (error) {
    // It has ended.
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}
