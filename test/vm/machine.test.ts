import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, chownSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, test } from "vitest";
import { GuestMachine, guestFolder, listenForConsole, machineFolder, nobody, root, specIn } from "#test/kit/guest";
import { packedKernel } from "#vmm/guest";
import { AcceleratorChoice, parseCache, probeKvm } from "#vmm/kvm";
import { qemu } from "#vmm/machine";
import { bootId, isAlive } from "#vmm/process";
import { runInGuest } from "#client/guest-shell";
import type { MachineExit, ProcessIdentity } from "#vmm";

describe("a running machine", () => {
  let guest: GuestMachine;
  beforeAll(async () => {
    guest = await GuestMachine.launch();
    await guest.output("true");
  });
  afterAll(() => guest[Symbol.asyncDispose]());

  test("runs commands as root and tells their exit status", async ({ expect }) => {
    expect(await guest.output("id -u; cd; pwd")).toBe("0\n/root\n");
    expect((await guest.run("exit 7")).code).toBe(7);
    expect((await guest.run("kill -9 $$")).code).toBe(137);
    expect((await guest.run("echo out; echo err >&2")).output.toString()).toBe("out\nerr\n");
    expect((await guest.run("cat")).output.length).toBe(0);
  });

  test("passes words on as they are", async ({ expect }) => {
    const words = ["a b", "it's", "$HOME", '"', "\\", "line\nbreak", "", "größe"];
    const path = join(guest.spec.directory, "shell.sock");
    const { output } = await runInGuest(path, ["printf", "%s|", ...words], { timeoutMs: 20_000 });
    expect(output.toString()).toBe(words.map((word) => `${word}|`).join(""));
  });

  test("brings every byte of a mebibyte, what looks like an end included", async ({ expect }) => {
    const result = await guest.run(
      "head -c 1048576 /dev/urandom >/tmp/big; printf '\\n%032d exit 0\\n' 0; cat /tmp/big; sha256sum </tmp/big; rm /tmp/big",
    );
    const trap = `\n${"0".repeat(32)} exit 0\n`;
    const end = trap.length + 1_048_576;
    expect(result.output.subarray(0, trap.length).toString()).toBe(trap);
    const digest = createHash("sha256").update(result.output.subarray(trap.length, end)).digest("hex");
    expect(result.output.subarray(end).toString()).toBe(`${digest}  -\n`);
  });

  test("a caller that hangs up leaves nothing to the next one", async ({ expect }) => {
    await expect(guest.run("while :; do echo flood; done", 1_000)).rejects.toThrow("within 1000 ms");
    expect(await guest.output("echo clean")).toBe("clean\n");
    expect(await guest.output("ps | grep -c '[e]cho flood' || true")).toBe("0\n");
    // Half a line, then no more.
    const socket = connect(join(guest.spec.directory, "shell.sock"));
    await once(socket, "connect");
    socket.end(`\n${randomBytes(16).toString("hex")} ZWNobyBoYWxm`);
    await once(socket, "close");
    expect(await guest.output("echo whole")).toBe("whole\n");
  });

  test("what a command leaves in the background is gone, unless it has its own session", async ({ expect }) => {
    await guest.output("sleep 1000 & setsid sleep 2000 >/dev/null 2>&1 & sleep 0.2");
    expect(await guest.output("ps -o args | grep '[s]leep .000'")).toBe("sleep 2000\n");
  });

  test("the devices of the ports and the guest's init are root's alone", async ({ expect }) => {
    expect(await guest.output("stat -c '%a %u' /dev/vport*")).toBe("600 0\n600 0\n");
    const asApp = await guest.run("su app -c 'cat /dev/vport0p2'");
    expect(asApp.code).toBe(1);
    expect(asApp.output.toString()).toContain("Permission denied");
  });

  test("has the ports, drivers and users that tests and the agent need", async ({ expect }) => {
    expect(await guest.output("cat /sys/class/virtio-ports/*/name")).toBe("org.hatchway.0\norg.hatchway.shell\n");
    expect(await guest.output("ls -d /sys/firmware/qemu_fw_cfg /dev/vsock")).toBe(
      "/dev/vsock\n/sys/firmware/qemu_fw_cfg\n",
    );
    expect(await guest.output("su app -c 'id -u'; su nobody -c 'id -u'")).toBe("1000\n65534\n");
  });

  test("QEMU is the runner's, with nothing to gain, and so are its sockets", ({ expect }) => {
    const status = readFileSync(`/proc/${guest.machine.process.pid}/status`, "utf8");
    expect(status).toMatch(/^Uid:\t65534\t65534\t65534\t65534$/m);
    expect(status).toMatch(/^Gid:\t65534\t65534\t65534\t65534$/m);
    expect(status).toMatch(/^CapEff:\t0{16}$/m);
    expect(status).toMatch(/^CapBnd:\t0{16}$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    for (const name of ["qmp.sock", "shell.sock", "console.sock", "console.log"]) {
      const { mode, uid } = statSync(join(guest.spec.directory, name));
      expect([name, (mode & 0o777).toString(8), uid]).toEqual([name, "600", nobody.uid]);
    }
  });

  test("is found again after the daemon has gone, and watched on", async ({ expect }) => {
    guest.machine.detach();
    const again = await qemu.attach(guest.spec, guest.machine.process);
    if (again === undefined) throw new Error("not found");
    guest.machine = again;
    expect(await guest.output("echo on")).toBe("on\n");
    expect(await qemu.attach(guest.spec, { ...again.process, startTime: 1 })).toBeUndefined();
  });

  test("a reboot is told, and the guest comes back", async ({ expect }) => {
    await guest.output("touch /tmp/before");
    const reset = guest.next("reset");
    await guest.run("reboot");
    await reset;
    expect((await guest.run("test -e /tmp/before")).code).toBe(1);
  });

  test("keeps what the guest writes to its console, fit for a terminal", async ({ expect }) => {
    await guest.output("printf '\\033[31mred\\033[0m \\007bell\\r\\nlast words\\n' >/dev/console; sleep 0.3");
    expect(await guest.console.tail(2)).toEqual(["red bell", "last words"]);
  });

  test("connects again to a daemon that comes back", async ({ expect }) => {
    await guest.console.close();
    for (const port of guest.ports) port.destroy();
    await new Promise((done) => guest.serial.close(done));
    guest.console = await listenForConsole(guest.spec);
    const connected = once(guest.serial, "connection");
    guest.serial.listen(guest.spec.serialSocket);
    chownSync(guest.spec.serialSocket, nobody.uid, nobody.gid);
    await connected;
    do await guest.output("echo anybody there >/dev/console; sleep 0.2");
    while ((await guest.console.tail(1))[0] !== "anybody there");
    expect(await guest.output("echo yes")).toBe("yes\n");
  });
});

test("a machine outlives the process that launched it, whatever ends that", async ({ expect }) => {
  const directory = machineFolder(nobody);
  const spec = specIn(directory);
  const program = join(import.meta.dirname, "../kit/launcher.ts");
  const launcher = spawn(process.execPath, [program, JSON.stringify(spec)], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(launcher.stdout, "data")) as [Buffer];
  const identity = JSON.parse(line.toString()) as ProcessIdentity;
  launcher.kill("SIGKILL");
  await once(launcher, "exit");
  const machine = await qemu.attach(spec, identity);
  if (machine === undefined) throw new Error("not found");
  const { output } = await runInGuest(join(directory, "shell.sock"), ["echo", "alive"], { timeoutMs: 60_000 });
  expect(output.toString()).toBe("alive\n");
  // QEMU complains of something now, to nobody.
  process.kill(identity.pid, "SIGTERM");
  expect(await machine.exited).toEqual({ by: "died", detail: "host-signal" });
  rmSync(directory, { recursive: true });
});

async function endOf(guest: GuestMachine): Promise<MachineExit> {
  const exit = await guest.machine.exited;
  if (isAlive(guest.machine.process)) throw new Error("it was said to have ended");
  return exit;
}

describe("the end of a machine", () => {
  test("is told when the guest powers off", async ({ expect }) => {
    await using guest = await GuestMachine.launch();
    await guest.output("true");
    const off = guest.run("poweroff").catch((error: Error) => error.message);
    expect(await endOf(guest)).toEqual({ by: "guest", detail: "guest-shutdown" });
    await off;
  });

  test("is told when something kills the process, of our own child and of one found again", async ({ expect }) => {
    await using guest = await GuestMachine.launch();
    await using other = await GuestMachine.launch();
    other.machine.detach();
    const found = await qemu.attach(other.spec, other.machine.process);
    if (found === undefined) throw new Error("not found");
    other.machine = found;
    process.kill(guest.machine.process.pid, "SIGKILL");
    process.kill(other.machine.process.pid, "SIGKILL");
    expect(await endOf(guest)).toEqual({ by: "died", detail: "SIGKILL" });
    expect(await endOf(other)).toEqual({ by: "died", detail: "its process is gone" });
  });

  test("comes by the power button, and by force when the guest does not hear it", async ({ expect }) => {
    await using guest = await GuestMachine.launch();
    await guest.output("true");
    expect(await guest.machine.stop(20_000)).toEqual({ by: "host", detail: "guest-shutdown" });
    await using deaf = await GuestMachine.launch();
    await deaf.output("killall acpid");
    expect(await deaf.machine.stop(600)).toEqual({ by: "host", detail: "host-qmp-quit" });
  });
});

describe("a machine that cannot be started", () => {
  test("says why, and leaves no process", async ({ expect }) => {
    const folder = machineFolder(nobody);
    const disk = { path: join(folder, "disk"), format: "qcow2" } as const;
    writeFileSync(disk.path, "not an image", { mode: 0o666 });
    chmodSync(disk.path, 0o666);
    await expect(GuestMachine.launch({ kernel: "/nowhere/vmlinuz" })).rejects.toThrow('"/nowhere/vmlinuz" does not');
    await expect(GuestMachine.launch({ kernel: "/etc/hostname" })).rejects.toThrow("QEMU did not start: ");
    await expect(GuestMachine.launch({ disk })).rejects.toThrow("not in qcow2 format");
    await expect(GuestMachine.launch({ runner: { uid: 65534, gid: 65534, name: "nosuchuser" } })).rejects.toThrow(
      "QEMU did not start: setpriv: ",
    );
    rmSync(folder, { recursive: true });
  });

  test("is not one that has ended meanwhile", async ({ expect }) => {
    const ended = { pid: process.pid, startTime: 1, bootId: bootId() };
    expect(await qemu.attach({ name: "test", directory: "/tmp" }, ended)).toBeUndefined();
  });
});

describe("the choice of an accelerator", () => {
  test("is made by trying, says why it is not KVM, and is remembered", async ({ expect }) => {
    const folder = machineFolder(root);
    const kernel = packedKernel(guestFolder);
    const cache = join(folder, "accelerators.json");
    // Both at once, as two VMs that are the first of a host.
    const choice = new AcceleratorChoice(cache);
    const first = await Promise.all([root, nobody].map((runner) => choice.choose({ runner, kernel })));
    for (const [at, runner] of [root, nobody].entries()) {
      const tried = first[at] ?? { kind: "tcg", reason: "" };
      expect(tried).toEqual(
        tried.kind === "kvm" ? { kind: "kvm" } : { kind: "tcg", reason: expect.stringMatching(/./) },
      );
      expect(Object.values(parseCache(readFileSync(cache, "utf8")))).toContainEqual(tried);
      expect(await new AcceleratorChoice(cache).choose({ runner, kernel })).toEqual(tried);
    }
    expect((statSync(cache).mode & 0o777).toString(8)).toBe("600");
    rmSync(folder, { recursive: true });
  });

  test("waits no longer than it was told for a kernel that says nothing", async ({ expect }) => {
    const chosen = await probeKvm({ runner: root, kernel: packedKernel(guestFolder) }, 1);
    expect(chosen.kind).toBe("tcg");
  });
});
