// A guest whose QEMU something else has started: taken in while it runs, or given its secrets as it is started.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import { runInGuest } from "#client/guest-shell";
import { guestFiles } from "#test/kit/guest";
import { Session } from "#test/kit/session";

const hatchway = resolve(import.meta.dirname, "../../bin/hatchway");
const VALUE = "canary-of-adoption";
const LINUX = "console=ttyS0 quiet panic=-1 cryptomgr.notests nokaslr tsc=reliable no_timer_check lpj=4000000";

/** A QEMU of somebody's own, without any way to Hatchway; `shell` is how the test gets into its guest. */
function ownQemu(shell: string, words: string): string[] {
  const { kernel, initrd = "" } = guestFiles();
  const machine = ["-machine", "q35", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "256", "-display", "none"];
  const boot = ["-nodefaults", "-no-user-config", "-kernel", kernel, "-initrd", initrd, "-append", `${LINUX} ${words}`];
  const port = ["-device", "virtio-serial-pci,id=mine", "-chardev", `socket,id=shell,path=${shell},server=on,wait=off`];
  return [
    "qemu-system-x86_64",
    ...machine,
    ...boot,
    ...port,
    "-device",
    "virtserialport,bus=mine.0,chardev=shell,name=org.hatchway.shell",
  ];
}

async function output(shell: string, script: string): Promise<string> {
  while (!existsSync(shell)) await sleep(20);
  const ran = await runInGuest(shell, ["sh", "-c", script], { timeoutMs: 90_000 });
  if (ran.code !== 0) throw new Error(`"${script}" ended with ${ran.code}: ${ran.output.toString()}`);
  return ran.output.toString();
}

/** A command that nobody lives to answer. */
async function lastWords(shell: string, command: string): Promise<void> {
  await runInGuest(shell, ["sh", "-c", command], { timeoutMs: 5_000 }).catch(String);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

describe("a vm that runs, adopted by QEMU's monitor", () => {
  let session: Session;
  let qemu: ChildProcess;
  let shell: string;
  beforeAll(async () => {
    session = await Session.start();
    shell = join(session.folder, "shell.sock");
    const [program = "", ...options] = ownQemu(shell, "hatchway.agent=off");
    const qmp = `unix:${join(session.folder, "qmp.sock")},server=on,wait=off`;
    qemu = spawn(program, [...options, "-qmp", qmp], { stdio: "ignore" });
    await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: VALUE });
    // The guest is up, and has no way to any host.
    await output(shell, "! hatchway-agent sync 2>/dev/null");
  });
  afterAll(async () => {
    await end(qemu);
    await session[Symbol.asyncDispose]();
  });

  it("gets a port while it runs, and its secrets through it", async ({ expect }) => {
    const said = await session.ok(["vm", "adopt", "web", "--qmp", join(session.folder, "qmp.sock"), "--secret", "db"]);
    expect(said).toContain(`process ${qemu.pid} of`);
    const look = "cd /run/hatchway/secrets && stat -c '%n %a %u' db && cat db";
    const sync = "until hatchway-agent sync --from virtio-serial:org.hatchway.0 >/dev/null 2>&1; do sleep 0.1; done";
    expect(await output(shell, `${sync}; ${look}`)).toBe(`db 440 1000\n${VALUE}`);
    expect(await session.vm("web")).toMatchObject({ state: "running", pid: qemu.pid, convergence: { in_sync: true } });
  });

  it("is another generation once its guest was rebooted, though its process is the same", async ({ expect }) => {
    const { generation } = (await session.vm("web")).convergence;
    await lastWords(shell, "reboot -f");
    while ((await session.vm("web")).convergence.generation === generation) await sleep(50);
    expect(await session.vm("web")).toMatchObject({ state: "running", pid: qemu.pid });
    expect((await session.vm("web")).convergence.applied).toBeUndefined();
    await output(shell, "hatchway-agent sync --from virtio-serial:org.hatchway.0");
    expect((await session.vm("web")).convergence).toMatchObject({ in_sync: true, generation: generation + 1 });
  });

  it("goes on when it is removed here", async ({ expect }) => {
    await session.ok(["vm", "remove", "web"]);
    expect(qemu.exitCode).toBeNull();
    expect(await output(shell, "cat /run/hatchway/secrets/db")).toBe(VALUE);
  });
});

describe("a QEMU that is run by vm exec", () => {
  it("has its secrets live once its guest has used the token in its firmware, and nobody else has", async ({
    expect,
  }) => {
    await using session = await Session.start();
    await session.ok(["secret", "create", "db"], { stdin: VALUE });
    await session.ok(["vm", "create", "own", "--external", "--secret", "db"]);
    const shell = join(session.folder, "shell.sock");
    const exec = ["vm", "exec", "own", "--channel", "virtio-serial", "--enrol", "smbios", "--"];
    const machine = spawn(hatchway, [...exec, ...ownQemu(shell, "hatchway.agent=off")], {
      env: session.env,
      stdio: ["ignore", "ignore", "inherit"],
    });
    const exit = once(machine, "exit");
    expect(await output(shell, "hatchway-agent sync >/dev/null && cat /run/hatchway/secrets/db")).toBe(VALUE);
    const thief = "mkdir /run/thief; hatchway-agent sync --root /run/thief 2>&1 || echo refused";
    expect(await output(shell, thief)).toMatch(/the token of this boot is spent.*\nrefused\n$/);
    expect((await session.vm("own")).convergence.enrolment).toEqual({ state: "enrolled", reboots: 0 });
    await lastWords(shell, "poweroff -f");
    await exit;
    const disk = await session.run(["vm", "exec", "own", "--channel", "disk", "--enrol", "--", "true"]);
    expect([disk.code, disk.stderr]).toEqual([2, expect.stringContaining("--enrol is for secrets that come live")]);
  });

  it("has its secrets from a store without a daemon, in no file and no argument, and its exit code is passed on", async ({
    expect,
  }) => {
    const folder = mkdtempSync("/dev/shm/hw-exec.");
    const shell = join(folder, "shell.sock");
    const env = { ...process.env, HATCHWAY_URI: `embed://${folder}/root` };
    const run = async (args: readonly string[], stdin = ""): Promise<number> => {
      const child = spawn(hatchway, args, { env, stdio: ["pipe", "ignore", "inherit"] });
      child.stdin?.end(stdin);
      return (await once(child, "exit"))[0] as number;
    };
    let machine: ChildProcess | undefined;
    try {
      expect(await run(["secret", "create", "db", "--mode", "0440"], VALUE)).toBe(0);
      expect(await run(["vm", "create", "own", "--external", "--secret", "db"])).toBe(0);
      const exec = ["vm", "exec", "own", "--channel", "smbios", "--", ...ownQemu(shell, "hatchway.agent=off")];
      machine = spawn(hatchway, exec, { env, stdio: ["ignore", "ignore", "inherit"] });
      const exit = once(machine, "exit");
      expect(await output(shell, "hatchway-agent sync --from smbios >/dev/null && cat /run/hatchway/secrets/db")).toBe(
        VALUE,
      );
      expect(await output(shell, "hatchway-agent status | grep source")).toContain("smbios");
      const children = readFileSync(`/proc/${machine.pid}/task/${machine.pid}/children`, "latin1").trim();
      const cmdline = readFileSync(`/proc/${children}/cmdline`, "latin1");
      expect(cmdline).toContain("type=11,path=/proc/self/fd/4");
      expect(cmdline).not.toContain("canary");
      await lastWords(shell, "poweroff -f");
      expect((await exit)[0]).toBe(0);
      expect(
        await run([
          "vm",
          "exec",
          "own",
          "--channel",
          "disk",
          "--",
          "sh",
          "-c",
          "head -c 1104 <&4 | tail -c 16 | grep -q HATCHWAY && exit 7",
          "sh",
        ]),
      ).toBe(7);
    } finally {
      if (machine) await end(machine);
      rmSync(folder, { recursive: true });
    }
  });
});
