// The main job as a user does it: the real commands, a real daemon, the compiled agent in a real VM.
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const VM = "web-1";
const ROOT = "/run/hatchway/secrets";
const binary = randomBytes(70_000);

describe("the main job", () => {
  let session: Session;

  beforeAll(async () => {
    session = await Session.start();
    await session.ok(["secret", "create", "binary"], { stdin: binary });
    await session.ok(["secret", "create", "owned", "--uid", "1000", "--gid", "1000", "--permissions", "0400"], {
      stdin: "for app\n",
    });
    await session.ok(["secret", "create", "API_KEY", "--env"], { stdin: "line one\nline 'two' $HOME \\" });
    await session.ok(["secret", "create", "unattached"], { stdin: "not for this vm" });
    const attach = ["--secret", "binary", "--secret", "owned", "--secret", "API_KEY"];
    await session.ok(["vm", "launch", VM, ...attach, "--wait", "--timeout", "60s"]);
  });
  afterAll(() => session[Symbol.asyncDispose]());

  it("delivers the exact bytes", async ({ expect }) => {
    const sum = await session.guest(VM, `sha256sum < ${ROOT}/binary`);
    expect(sum.split(" ")[0]).toBe(createHash("sha256").update(binary).digest("hex"));
  });

  it("gives each file its mode and owner", async ({ expect }) => {
    const modes = await session.guest(VM, `stat -c '%n %a %u %g %s' ${ROOT}/binary ${ROOT}/owned`);
    expect(modes.trim().split("\n")).toEqual([`${ROOT}/binary 600 0 0 70000`, `${ROOT}/owned 400 1000 1000 8`]);
  });

  it("does not deliver what is not attached, by name or by content", async ({ expect }) => {
    const names = (await session.guest(VM, `ls ${ROOT}`)).trim().split("\n");
    expect(names).toEqual(["binary", "owned"]);
    const files = "find /run /etc /tmp /root -type f";
    const found = `${files} -exec grep -l 'not for this vm\\|unattached' {} +; ${files} | wc -l`;
    expect(Number(await session.guest(VM, found))).toBeGreaterThan(5);
  });

  it("keeps variables in a root-only file and gives them to what exec runs", async ({ expect }) => {
    expect(await session.guest(VM, "hatchway-agent exec -- sh -c 'printf %s \"$API_KEY\"'")).toBe(
      "line one\nline 'two' $HOME \\",
    );
    expect(await session.guest(VM, "stat -L -c '%a %u' /run/hatchway/env/secrets.env")).toBe("600 0\n");
    expect((await session.tryGuest(VM, `su app -c 'cat /run/hatchway/env/secrets.env'`)).code).not.toBe(0);
  });

  it("mounts a tmpfs that is not searchable by name and says so on the host", async ({ expect }) => {
    expect(await session.guest(VM, "grep ' /run/hatchway ' /proc/mounts")).toMatch(
      /^\S+ \/run\/hatchway (tmpfs|ramfs) .*nosuid,nodev,noexec/,
    );
    expect((await session.vm(VM)).convergence.mount).toMatch(/^(tmpfs(,noswap)?|ramfs)$/);
  });

  it("brings an update to the running guest and knows that it is there", async ({ expect }) => {
    await session.ok(["secret", "update", "owned", "--wait"], { stdin: "changed" });
    expect(await session.guest(VM, `cat ${ROOT}/owned`)).toBe("changed");
    const { convergence } = await session.vm(VM);
    expect(convergence).toMatchObject({ in_sync: true, applied: convergence.wanted, refused: [], alarms: [] });
  });

  it("changes a mode without touching the value", async ({ expect }) => {
    const before = await session.secret("owned");
    await session.ok(["secret", "update", "owned", "--permissions", "0440", "--wait"]);
    expect(await session.guest(VM, `stat -c '%a' ${ROOT}/owned; cat ${ROOT}/owned`)).toBe("440\nchanged");
    expect((await session.secret("owned")).version).toBe(before.version);
  });

  it("shows a change through a bind mount of the folder, as a container has it", async ({ expect }) => {
    await session.guest(VM, "mkdir -p /tmp/container && mount --bind /run/hatchway /tmp/container");
    await session.ok(["secret", "update", "owned", "--wait"], { stdin: "seen inside" });
    expect(await session.guest(VM, "cat /tmp/container/secrets/owned; umount /tmp/container")).toBe("seen inside");
  });

  it("in a container follows changes by a mount of the folder, not by one of the set or of a file", async ({
    expect,
  }) => {
    // As Docker and Compose make them: bind mounts in a mount namespace that hears nothing of the guest's own.
    const mounts = [`/run/hatchway all`, `${ROOT} set`, `${ROOT}/owned changing`, `${ROOT}/binary staying`];
    const bind = mounts.map((words) => `mount --bind ${words.replace(" ", " /tmp/c/")}`).join(" && ");
    await session.guest(
      VM,
      `mkdir -p /tmp/c/all /tmp/c/set && touch /tmp/c/changing /tmp/c/staying
       setsid unshare -m sh -c 'mount --make-rprivate / && ${bind} && echo $$ >/tmp/c/pid && exec sleep 100000' >/dev/null 2>&1 3>&- &
       while ! [ -s /tmp/c/pid ]; do sleep 0.1; done`,
    );
    const inside = (script: string): Promise<string> =>
      session.guest(VM, `cd /proc/$(cat /tmp/c/pid)/root/tmp/c && ${script}`);
    const before = await inside("cat changing set/owned; stat -c %i staying; sha256sum <staying");
    expect(before).toMatch(/^seen insideseen inside/);
    const staying = before.slice("seen insideseen inside".length);
    await session.ok(["secret", "update", "owned", "--wait"], { stdin: "rotated" });
    expect(await inside("cat all/secrets/owned")).toBe("rotated");
    // The old set is empty, and the old file is overwritten, since nobody has it open.
    expect(await inside("ls set")).toBe("");
    expect(await inside("cat changing")).toBe("\0".repeat("seen inside".length));
    expect(await inside("stat -c %i staying; sha256sum <staying")).toBe(staying);
    // Who has the file open reads on what it was.
    await session.guest(
      VM,
      `setsid sh -c 'exec 4<${ROOT}/owned; >/tmp/c/open; until [ -e /tmp/c/go ]; do sleep 0.1; done; cat <&4 >/tmp/c/read' >/dev/null 2>&1 3>&- &
       until [ -e /tmp/c/open ]; do sleep 0.1; done`,
    );
    await session.ok(["secret", "update", "owned", "--wait"], { stdin: "seen inside" });
    expect(await session.guest(VM, ">/tmp/c/go; until [ -s /tmp/c/read ]; do sleep 0.1; done; cat /tmp/c/read")).toBe(
      "rotated",
    );
    await session.guest(VM, "kill $(cat /tmp/c/pid)");
  });

  it("attaches and detaches while the guest runs", async ({ expect }) => {
    await session.ok(["vm", "attach", VM, "unattached", "--as", "late/file"]);
    await session.synced(VM);
    expect(await session.guest(VM, `cat ${ROOT}/late/file`)).toBe("not for this vm");
    await session.ok(["vm", "detach", VM, "unattached"]);
    await session.synced(VM);
    expect((await session.tryGuest(VM, `ls -d ${ROOT}/late`)).code).not.toBe(0);
  });

  it("takes a removed secret back from the guest", async ({ expect }) => {
    await session.ok(["secret", "create", "short-lived"], { stdin: "x" });
    await session.ok(["vm", "attach", VM, "short-lived"]);
    await session.synced(VM);
    expect(await session.ok(["secret", "remove", "short-lived"])).toContain(VM);
    await session.synced(VM);
    expect((await session.tryGuest(VM, `cat ${ROOT}/short-lived`)).code).not.toBe(0);
  });

  it("gives an unprivileged guest user nothing: files, device, socket", async ({ expect }) => {
    for (const script of [
      `cat ${ROOT}/binary`,
      `ls ${ROOT}`,
      "cat /run/hatchway/.agent/status.json",
      "cat < /dev/vport0p1",
      "cat /dev/vport*",
      "hatchway-agent sync",
    ]) {
      const tried = await session.tryGuest(VM, `su app -c '${script}'`);
      expect(tried.code, script).not.toBe(0);
      expect(tried.stdout, script).not.toContain("line one");
    }
    expect((await session.tryGuest(VM, `su nobody -s /bin/sh -c 'cat ${ROOT}/owned'`)).stdout).not.toContain("seen");
    expect(await session.guest(VM, `su app -c 'cat ${ROOT}/owned'`)).toBe("seen inside");
  });

  it("keeps the files while the daemon is gone, and converges when it is back", async ({ expect }) => {
    expect(await session.end("SIGKILL")).toBe("SIGKILL");
    const shell = (script: string) => session.guest(VM, script);
    await session.serve();
    expect((await session.vm(VM)).state).toBe("running");
    await session.ok(["secret", "update", "owned", "--wait", "--timeout", "20s"], { stdin: "after the crash" });
    expect(await shell(`cat ${ROOT}/owned`)).toBe("after the crash");
  });

  it("leaves the old set or the new one when the agent is killed in the middle of a sync", async ({ expect }) => {
    await session.ok(["secret", "create", "left"], { stdin: "0" });
    await session.ok(["secret", "create", "right"], { stdin: "0" });
    await session.ok(["vm", "attach", VM, "left", "right"]);
    await session.synced(VM);
    // Who stands in the directory reads one set: both values of it always changed together.
    await session.guest(
      VM,
      `cat > /tmp/watch <<'EOF'
while [ ! -e /tmp/stop ]; do
  (cd ${ROOT} && l=$(cat left) && r=$(cat right) && echo "$l $r" >> /tmp/seen)
  sleep 0.05
done
EOF
cat > /tmp/killer <<'EOF'
while [ ! -e /tmp/stop ]; do
  kill -9 $(pidof hatchway-agent)
  hatchway-agent sync &
  sleep $((RANDOM % 3)).$((RANDOM % 10))
done
EOF
for script in watch killer; do setsid sh /tmp/$script >/dev/null 2>&1 </dev/null & done
sleep 1`,
    );
    for (let round = 1; round <= 8; round++) {
      await session.ok(["vm", "detach", VM, "left", "right"]);
      for (const name of ["left", "right"]) await session.ok(["secret", "update", name], { stdin: String(round) });
      await session.ok(["vm", "attach", VM, "left", "right"]);
      await sleep(1_500);
    }
    await session.guest(VM, "touch /tmp/stop");
    await session.synced(VM);
    const seen = new Set((await session.guest(VM, "cat /tmp/seen")).trim().split("\n"));
    expect([...seen].filter((pair) => !/^(\d) \1$/.test(pair))).toEqual([]);
    expect(seen.size).toBeGreaterThan(1);
    expect(await session.guest(VM, `cat ${ROOT}/left ${ROOT}/right`)).toBe("88");
    expect(await session.guest(VM, "ls /run/hatchway/.agent | grep -c next- || true")).toBe("0\n");
  });

  it("gives a guest that rebooted its secrets again", async ({ expect }) => {
    const before = (await session.vm(VM)).convergence.generation;
    // The guest is gone before it can answer.
    const gone = session.run(["vm", "shell", VM, "--", "reboot", "-f"], { timeout: 10_000 });
    const deadline = Date.now() + 30_000;
    while ((await session.vm(VM)).convergence.generation === before && Date.now() < deadline) await sleep(100);
    await session.synced(VM);
    expect((await session.vm(VM)).convergence.generation).toBeGreaterThan(before);
    await gone;
    expect(await session.guest(VM, `cat ${ROOT}/left ${ROOT}/owned`)).toBe("8after the crash");
  });

  it("shows a VM whose process was killed as failed, with the reason", async ({ expect }) => {
    const { pid } = await session.vm(VM);
    process.kill(pid ?? 0, "SIGKILL");
    await sleep(300);
    const vm = await session.vm(VM);
    expect(vm.state).toBe("failed");
    expect(vm.reason).toMatch(/SIGKILL|gone/);
    await session.ok(["vm", "start", VM, "--wait", "--timeout", "60s"]);
    expect(await session.guest(VM, `cat ${ROOT}/owned`)).toBe("after the crash");
  });

  it("starts one process when it is started twice at once", async ({ expect }) => {
    await session.ok(["vm", "stop", VM, "--grace", "1ms"]);
    const starts = await Promise.all([session.run(["vm", "start", VM]), session.run(["vm", "start", VM])]);
    expect(starts.map(({ code }) => code).toSorted((a, b) => a - b)).toEqual([0, 4]);
    expect(processesOf(join(session.runtime, "vm", VM))).toHaveLength(1);
  });

  it("leaves no process when it is removed while it starts", async ({ expect }) => {
    const launch = session.run(["vm", "launch", "brief"]);
    while ((await session.run(["vm", "remove", "brief"])).code !== 0) await sleep(20);
    await launch;
    expect(processesOf(join(session.runtime, "vm/brief"))).toEqual([]);
    expect((await session.run(["vm", "show", "brief"])).code).toBe(3);
  });
});

/** The processes whose command line names `folder`. */
function processesOf(folder: string): string[] {
  const pids = readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name));
  return pids.filter((pid) => commandLine(pid).includes(`${folder}/`));
}

function commandLine(pid: string): string {
  const path = `/proc/${pid}/cmdline`;
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}
