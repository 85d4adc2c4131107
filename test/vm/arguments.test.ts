// What `vm args` prints for QEMU, pasted behind a QEMU of one's own as it is: a real guest finds its secrets by each way.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it } from "vitest";
import { runInGuest } from "#client/guest-shell";
import { guestFiles } from "#test/kit/guest";
import { Session, withGuests } from "#test/kit/session";

const VM = "own";
const VALUE = "canary-of-arguments";
const device = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "hatchway/vhost-device-vsock/usr/bin");

let session: Session;
/** In memory, for files that may hold secrets. */
let memory: string;
let children: ChildProcess[];

beforeAll(async () => {
  session = await withGuests("10.0.2.2");
  memory = mkdtempSync("/dev/shm/hatchway-arguments.");
  children = [];
  await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: VALUE });
  await session.ok(["vm", "create", VM, "--external", "--secret", "db"]);
});
afterAll(async () => {
  for (const child of children) await end(child);
  rmSync(memory, { recursive: true });
  await session[Symbol.asyncDispose]();
});

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

/** Runs a shell command that becomes one process. */
function shell(command: string): ChildProcess {
  const child = spawn("sh", ["-c", `exec ${command}`], {
    stdio: "ignore",
    env: { ...process.env, PATH: `${process.env["PATH"]}:${device}` },
  });
  children.push(child);
  return child;
}

/** QEMU as its user has it, with what `vm args` printed behind it. */
function boot(pasted: string, words: string): { qemu: ChildProcess; socket: string } {
  const socket = join(session.folder, "shell.sock");
  rmSync(socket, { force: true });
  const { kernel, initrd } = guestFiles();
  const linux = "console=ttyS0 quiet panic=-1 cryptomgr.notests nokaslr tsc=reliable no_timer_check lpj=4000000";
  const own = [
    "qemu-system-x86_64 -machine q35 -accel tcg -cpu qemu64,+rdrand -m 256 -nodefaults -no-user-config -display none",
    `-kernel ${kernel} -initrd ${initrd} -append '${linux} ${words}'`,
    `-device virtio-serial-pci,id=mine -chardev socket,id=shell,path=${socket},server=on,wait=off`,
    "-device virtserialport,bus=mine.0,chardev=shell,name=org.hatchway.shell",
  ];
  return { qemu: shell(`${own.join(" ")} ${pasted}`), socket };
}

async function output(socket: string, script: string): Promise<string> {
  while (!existsSync(socket)) await sleep(20);
  const ran = await runInGuest(socket, ["sh", "-c", script], { timeoutMs: 60_000 });
  if (ran.code !== 0) throw new Error(`"${script}" ended with ${ran.code}: ${ran.output.toString()}`);
  return ran.output.toString();
}

const LOOK = "cd /run/hatchway/secrets && stat -c '%n %a %u' db && cat db";
/** The agent is on its way. */
const WAIT = "until [ -e /run/hatchway/secrets/db ]; do sleep 0.1; done;";
const SEEN = `db 440 1000\n${VALUE}`;

describe("a QEMU of one's own", () => {
  it("has its secrets by virtio-serial, from what is pasted", async ({ expect }) => {
    const { qemu, socket } = boot(await session.ok(["vm", "args", VM]), "");
    expect(await output(socket, `${WAIT} ${LOOK}`)).toBe(SEEN);
    await end(qemu);
  });

  it("has them by vsock, with the device's command that is printed beside it", async ({ expect }) => {
    const { stdout, stderr } = await session.run(["vm", "args", VM, "--channel", "vsock"]);
    const beside = /as the same user: (.*)/.exec(stderr)?.[1] ?? "";
    const vhost = shell(beside);
    while (!existsSync(join(session.runtime, "vm", VM, "vhost.sock"))) await sleep(20);
    const { qemu, socket } = boot(stdout, "hatchway.from=vsock:2:5107");
    expect(await output(socket, `${WAIT} ${LOOK}`)).toBe(SEEN);
    await end(qemu);
    await end(vhost);
  });

  it("has them by tcp, with the guest's certificate in its firmware", async ({ expect }) => {
    const port = /guests are served on 127\.0\.0\.1:([0-9]+)/.exec(await session.ok(["logs"]))?.[1] ?? "";
    await session.ok(["pki", "guest", VM, "--session", "--host", `10.0.2.2:${port}`]);
    const file = join(session.folder, `c/hatchway/pki/guest/${VM}.pem`);
    const { qemu, socket } = boot(
      await session.ok(["vm", "args", VM, "--channel", "tcp", "--file", file]),
      "hatchway.net=10.0.2.15/24,10.0.2.2",
    );
    expect(await output(socket, `${WAIT} ${LOOK}`)).toBe(SEEN);
    await end(qemu);
  });

  it("has them by fw-cfg, smbios and disk at once, with the files that the notes say", async ({ expect }) => {
    const [tar, oem, image] = ["b,1.tar", "b.oem", "b.erofs"].map((name) => join(memory, name));
    await session.ok(["image", "build", VM, "--format", "tar", "--out", `${tar}`]);
    await session.ok(["image", "build", VM, "--format", "erofs", "--out", `${image}`]);
    const args = (channel: string, file: string | undefined): ReturnType<typeof session.run> =>
      session.run(["vm", "args", VM, "--channel", channel, "--file", `${file}`]);
    const [fwCfg, smbios, disk] = [await args("fw-cfg", tar), await args("smbios", oem), await args("disk", image)];
    const recipe = /bundle's tar: (.*)/.exec(smbios.stderr)?.[1]?.replace("BUNDLE.tar", `${tar}`) ?? "false";
    execFileSync("bash", ["-c", recipe]);
    const pasted = [fwCfg, smbios, disk].map(({ stdout }) => stdout.trim()).join(" \\\n");
    expect(pasted).not.toContain("canary");

    const { qemu, socket } = boot(pasted, "hatchway.agent=off");
    for (const source of ["fw-cfg", "smbios"]) {
      const sync = `rm -rf /run/hatchway/secrets; hatchway-agent sync --from ${source} >/dev/null`;
      expect(await output(socket, `${sync} && ${LOOK}`), source).toBe(SEEN);
    }
    const disks = "cat /sys/block/vda/serial && echo && head -c 1104 /dev/vda | tail -c 16 | tr -d '\\0'";
    expect(await output(socket, disks)).toBe("HATCHWAY\nHATCHWAY");
    const drivers = "for one in libcrc32c erofs; do insmod /lib/modules/$one.ko; done";
    const look = `${drivers}; mkdir -p /mnt && mount -t erofs -o ro,nodev,nosuid,noexec /dev/vda /mnt && cat /mnt/db`;
    expect(await output(socket, `${look} && ! { echo x >/dev/vda; } 2>/dev/null`)).toBe(VALUE);
    expect(readFileSync(`/proc/${qemu.pid}/cmdline`, "latin1")).not.toContain("canary");
    await end(qemu);
  });
});
