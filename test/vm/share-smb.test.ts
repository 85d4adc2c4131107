// A sealed share by QEMU's own SMB server, as vm args says it: a real guest mounts it, its agent opens it and follows a
// change; and why a plain one has to be allowed.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import { runInGuest } from "#client/guest-shell";
import { genericGuestFolder, guestFiles } from "#test/kit/guest";
import { Session } from "#test/kit/session";

const samba = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "hatchway/samba");
const VM = "smb";

/** As somebody has it who has installed Samba, in a mount namespace of its own; QEMU and smbd are nobody. */
const NAMESPACE = [
  'mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr',
  "exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs sh -c",
].join(" && ");

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

describe("a share by QEMU's SMB server", () => {
  let session: Session;
  /** In memory; others may pass through it, and read what is in the share. */
  let memory: string;
  let children: ChildProcess[];

  beforeAll(async () => {
    if (!existsSync(join(samba, "usr/sbin/smbd"))) throw new Error("there is no Samba: run scripts/fetch-samba");
    session = await Session.start();
    memory = mkdtempSync("/dev/shm/hw.");
    execFileSync("chmod", ["711", memory]);
    execFileSync("install", ["-d", "-o", "nobody", join(memory, "own")]);
    children = [];
    await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: "canary-one" });
    await session.ok(["secret", "create", "token", "--env", "TOKEN"], { stdin: "canary-token" });
    await session.ok(["vm", "create", VM, "--external", "--secret", "db", "--secret", "token"]);
  });
  afterAll(async () => {
    for (const child of children) await end(child);
    rmSync(memory, { recursive: true });
    await session[Symbol.asyncDispose]();
  });

  /** QEMU as its user has it, with what `vm args` printed behind it. */
  async function boot(folder: string, more: string): Promise<(script: string) => Promise<string>> {
    const pasted = await session.ok(["vm", "args", VM, "--channel", "smb", "--file", folder]);
    const socket = join(memory, "own/shell.sock");
    rmSync(socket, { force: true });
    const { kernel, initrd } = guestFiles(genericGuestFolder);
    const linux = "console=ttyS0 quiet panic=-1 cryptomgr.notests nokaslr tsc=reliable no_timer_check lpj=4000000";
    const own = [
      "exec qemu-system-x86_64 -machine q35 -accel tcg -cpu qemu64,+rdrand -m 256 -nodefaults -no-user-config -display none",
      `-kernel ${kernel} -initrd ${initrd} -append '${linux} hatchway.share=smb hatchway.agent=off'`,
      `-device virtio-serial-pci,id=mine -chardev socket,id=shell,path=${socket},server=on,wait=off`,
      `-device virtserialport,bus=mine.0,chardev=shell,name=org.hatchway.shell ${more}`,
    ];
    const words = [
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-c",
      `${NAMESPACE} "$1"`,
      samba,
      `${own.join(" ")} ${pasted}`,
    ];
    const env = { ...process.env, TMPDIR: join(memory, "own") };
    const qemu = spawn("unshare", words, { stdio: ["ignore", "ignore", "inherit"], env });
    children.push(qemu);
    while (!existsSync(socket)) {
      if (qemu.exitCode !== null) throw new Error(`QEMU ended with ${qemu.exitCode}`);
      await sleep(20);
    }
    return async (script) => {
      const ran = await runInGuest(socket, ["sh", "-c", script], { timeoutMs: 60_000 });
      if (ran.code !== 0) throw new Error(`"${script}" ended with ${ran.code}: ${ran.output.toString()}`);
      return ran.output.toString();
    };
  }

  it("is opened by the agent with the key from the firmware, and followed; nobody else has more than a sealed file", async ({
    expect,
  }) => {
    const [folder, key, copy] = ["web", "key", "own/key"].map((name) => join(memory, name)) as [string, string, string];
    const flags = ["share", VM, "--out", folder, "--key", key];
    await session.ok(flags);
    execFileSync("install", ["-m", "400", "-o", "nobody", key, copy]);
    const output = await boot(folder, `-fw_cfg name=opt/org.hatchway/key,file=${copy}`);
    const set = "/run/hatchway/secrets";
    const run = "setsid hatchway-agent run --from dir:/run/share >/tmp/agent 2>&1 &";
    const look = `until [ -e ${set}/db ]; do sleep 0.1; done; stat -c '%a %u' ${set}/db; cat ${set}/db ${set}/.hatchway/values/TOKEN`;
    expect(await output(`${run} ${look}`)).toBe("440 1000\ncanary-onecanary-token");
    expect(await output("grep -c ' /run/share cifs ro' /proc/mounts; ls /run/share")).toBe("1\nbundle.age\n");
    expect(await output("su app -c 'dd if=/run/share/bundle.age 2>/dev/null' | grep -c canary || true")).toBe("0\n");

    await session.ok(["secret", "update", "db"], { stdin: "canary-two" });
    await session.ok(flags);
    expect(
      await output(
        `until [ "$(cat ${set}/db)" = canary-two ]; do sleep 0.1; done; grep -v revision /tmp/agent || true`,
      ),
    ).toBe("");

    const write =
      "mount -o remount,rw /run/share; cd /run/share; touch x 2>/dev/null || echo no; rm -f bundle.age 2>/dev/null || echo no";
    expect(await output(write)).toBe("no\nno\n");
    expect(readFileSync(join(folder, "bundle.age"), "latin1").startsWith("age-encryption.org/v1\n")).toBe(true);
    expect(readFileSync(`/proc/${children[0]?.pid}/cmdline`, "latin1")).not.toMatch(/canary|AGE-SECRET/);
  });
});
