// What becomes of a launch that does not come to its end: the exit code, the words, and that nothing is left.
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it, type ExpectStatic } from "vitest";
import { guestFiles } from "#test/kit/guest";
import { Session } from "#test/kit/session";

describe("a launch that fails", () => {
  let session: Session;
  const folder = mkdtempSync("/tmp/hwl.");

  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "create", "key"], { stdin: "value" });
  });
  afterAll(async () => {
    await session[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  /** Neither the VM, its folder, its grants, its process nor a record of it. */
  async function expectNothingLeft(expect: ExpectStatic, vm: string): Promise<void> {
    expect((await session.run(["vm", "show", vm])).code).toBe(3);
    expect(readdirSync(join(session.runtime, "vm"))).not.toContain(vm);
    expect(await session.ok(["secret", "show", "key"])).not.toContain(vm);
    expect(qemuOf(vm)).toEqual([]);
    for (const records of ["machines", "boots"]) {
      const path = join(session.runtime, records);
      expect(existsSync(path) ? readdirSync(path) : []).toEqual([]);
    }
  }

  it("for want of an agent ends in time, shows the console's last lines harmlessly, and leaves nothing", async ({
    expect,
  }) => {
    // A guest whose process 1 says what a terminal would obey.
    const initrd = await guestThat(
      folder,
      String.raw`printf 'hello\033[2J\033]0;owned\007\033[31m red\033[0m\r\n\302\233evil\n' >/dev/console; sleep 1000`,
    );
    const { code, stderr, stdout } = await session.run([
      "vm",
      "launch",
      "mute",
      "--secret",
      "key",
      "--initrd",
      initrd,
      "--wait",
      "--timeout",
      "6s",
    ]);
    expect(code).toBe(7);
    expect(stdout).toBe("");
    expect(stderr).toMatch(
      /^error: vm "mute": the agent did not answer within 6 s\nhint: the last lines of its console:\n/,
    );
    expect(stderr).toMatch(/^ +hello red$/m);
    expect(stderr).not.toMatch(/[^\n\x20-\x7e]/);
    await expectNothingLeft(expect, "mute");
  });

  it("with an agent that is off ends in time too", async ({ expect }) => {
    const flags = ["--secret", "key", "--append", "hatchway.agent=off", "--wait", "--timeout", "3s"];
    const { code, stderr } = await session.run(["vm", "launch", "off", ...flags]);
    expect(code).toBe(7);
    expect(stderr).toContain('error: vm "off": the agent did not answer within 3 s');
    await expectNothingLeft(expect, "off");
  });

  it("tells at once, and why, that QEMU was killed while it waited", async ({ expect }) => {
    const flags = ["--secret", "key", "--append", "hatchway.agent=off", "--wait", "--timeout", "60s"];
    const launch = session.run(["vm", "launch", "shot", ...flags]);
    let pid: number | undefined;
    while (pid === undefined) {
      await sleep(100);
      [pid] = qemuOf("shot");
    }
    await sleep(1_000);
    process.kill(pid, "SIGKILL");
    const { code, stderr } = await launch;
    expect(code).toBe(6);
    expect(stderr).toMatch(/^error: vm "shot" ended before it had its secrets: SIGKILL/);
    await expectNothingLeft(expect, "shot");
  });

  it("tells that the guest powered off instead", async ({ expect }) => {
    const initrd = await guestThat(folder, "echo nothing to do >/dev/console; poweroff -f");
    const flags = ["--secret", "key", "--initrd", initrd, "--wait", "--timeout", "60s"];
    const { code, stderr } = await session.run(["vm", "launch", "done", ...flags]);
    expect(code).toBe(6);
    expect(stderr).toMatch(/^error: vm "done" ended before it had its secrets: guest-shutdown/);
    expect(stderr).toContain("nothing to do");
    await expectNothingLeft(expect, "done");
  });

  it("of a guest that panics again and again ends in time, and shows the panic", async ({ expect }) => {
    const initrd = await guestThat(folder, "exit 1");
    const flags = ["--secret", "key", "--initrd", initrd, "--wait", "--timeout", "8s"];
    const { code, stderr } = await session.run(["vm", "launch", "panics", ...flags]);
    expect(code).toBe(7);
    expect(stderr).toContain("Kernel panic - not syncing: Attempted to kill init!");
    await expectNothingLeft(expect, "panics");
  });

  it("is removed by the user while it waits", async ({ expect }) => {
    const flags = ["--secret", "key", "--append", "hatchway.agent=off", "--wait", "--timeout", "60s"];
    const launch = session.run(["vm", "launch", "gone", ...flags]);
    while (qemuOf("gone").length === 0) await sleep(100);
    await session.ok(["vm", "remove", "gone"]);
    const { code, stderr } = await launch;
    expect([3, 6]).toContain(code);
    expect(stderr).toMatch(/^error: .*\n$/);
    await expectNothingLeft(expect, "gone");
  });

  for (const [what, flags, code, message] of [
    ["a kernel that is not there", ["--kernel", "/nowhere/vmlinuz"], 3, 'kernel "/nowhere/vmlinuz" does not exist'],
    ["an initrd that is not there", ["--initrd", "/nowhere/initrd"], 3, 'initrd "/nowhere/initrd" does not exist'],
    ["a disk that is not there", ["--disk", "/nowhere/disk"], 3, 'disk "/nowhere/disk" cannot be read'],
    ["a kernel that is none", ["--kernel", "/etc/hostname"], 6, "QEMU did not start: "],
    ["a user that is not there", ["--runner", "no-such-user"], 2, 'runner "no-such-user" is not a user of this host'],
    ["another user than the session's", ["--runner", "nobody"], 2, 'vm "bad" would run as uid 65534, and a session is'],
    ["too little memory", ["--memory", "1"], 2, "memory_mib is below 64"],
  ] as const) {
    it(`with ${what} says so in one line`, async ({ expect }) => {
      const ran = await session.run(["vm", "launch", "bad", "--secret", "key", ...flags]);
      expect(ran.stderr).toContain(message);
      expect(ran.stderr).toMatch(/^error: .*\n(hint: .*\n)?$/);
      expect(ran.code).toBe(code);
      await expectNothingLeft(expect, "bad");
    });
  }

  it("without QEMU says how to get it", async ({ expect }) => {
    const bin = join(folder, "bin");
    await session.end("SIGTERM");
    const path = session.env["PATH"];
    const { execFileSync } = await import("node:child_process");
    execFileSync("mkdir", ["-p", bin]);
    for (const name of ["getent", "setpriv", "sh", "readlink", "rm", "node", "timeout"]) {
      execFileSync("sh", ["-c", `ln -sf "$(command -v ${name})" ${bin}/`]);
    }
    session.env["PATH"] = bin;
    await session.serve();
    session.env["PATH"] = path;
    const { code, stderr } = await session.run(["vm", "launch", "bad", "--secret", "key"]);
    expect(stderr).toBe('error: "qemu-system-x86_64" is not installed\nhint: apt-get install qemu-system-x86\n');
    expect(code).toBe(9);
    await expectNothingLeft(expect, "bad");
  });
});

/** Process ids of the machines of that name, of any session. */
function qemuOf(vm: string): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(`\0guest=${vm}\0`);
      } catch (error) {
        // It ended meanwhile.
        if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
        throw error;
      }
    });
}

/** An initrd whose process 1, once it has /dev, is this script. */
async function guestThat(folder: string, script: string): Promise<string> {
  const { execFileSync } = await import("node:child_process");
  const tree = mkdtempSync(join(folder, "tree."));
  writeFileSync(
    join(tree, "init"),
    `#!/bin/sh\nexport PATH=/usr/bin:/bin\nmount -t devtmpfs devtmpfs /dev\n${script}\n`,
    { mode: 0o755 },
  );
  const archive = execFileSync("cpio", ["--quiet", "--create", "--format=newc", "--owner=0:0"], {
    cwd: tree,
    input: "init\n",
  });
  const path = `${tree}.img`;
  copyFileSync(guestFiles().initrd ?? "", path);
  writeFileSync(path, archive, { flag: "a" });
  return path;
}
