// VMs that something else has started: which process is whose, when it is another one, and what is refused.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, lstat, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, onTestFinished, test } from "vitest";
import type { VmBody } from "#api-vm";
import { RUNNER_A, RUNNER_B, TestDaemon } from "#test/kit/daemon";
import { ForeignVmm } from "#test/kit/foreign-vmm";
import { until } from "#test/kit/until";

let daemon: TestDaemon;
beforeEach(async () => {
  daemon = await TestDaemon.open();
  onTestFinished(() => daemon[Symbol.asyncDispose]());
  await daemon.secret("db", "canary");
});

const [KEY, OTHER] = ["5a".repeat(32), "a5".repeat(32)];
const GOOD = "HTTP/1.1 200 OK";

/** A folder of a runner's own, as whoever runs Firecracker makes it. */
async function folderOf(uid: number, name = "fc"): Promise<string> {
  const folder = join(daemon.folder, name);
  await mkdir(folder, { mode: 0o700 });
  await chown(folder, uid, uid);
  return folder;
}

async function vmm(uid: number, path?: string): Promise<ForeignVmm> {
  const started = await ForeignVmm.start(uid, path);
  onTestFinished(() => started[Symbol.asyncDispose]());
  return started;
}

const adopt = (name: string, how: object): Promise<unknown> =>
  daemon.tell("POST", "/vms", { name, adopt: how, secrets: ["db"] });

describe("a vm that is adopted by its vsock", () => {
  test("is its process: that one may claim, another of the same user may not", async ({ expect }) => {
    const folder = await folderOf(RUNNER_A);
    const uds = join(folder, "v.sock");
    const machine = await vmm(RUNNER_A, uds);
    const vm = (await adopt("fc", { uds })) as VmBody;
    expect(vm).toMatchObject({ state: "running", pid: machine.pid, runner: { uid: RUNNER_A }, adopted: { uds } });
    expect(vm.channels).toContainEqual({ kind: "vsock", path: uds });
    expect(await readdir(folder)).toEqual(["v.sock", "v.sock_5107"]);
    const { uid, gid, mode } = await lstat(`${uds}_5107`);
    expect([uid, gid, mode & 0o777]).toEqual([RUNNER_A, RUNNER_A, 0o600]);
    const stranger = await vmm(RUNNER_A);
    expect(await stranger.claim(`${uds}_5107`, OTHER)).toBe("closed");
    expect(await (await vmm(RUNNER_B)).claim(`${uds}_5107`, OTHER)).toBe("EACCES");
    expect(await machine.claim(`${uds}_5107`, KEY)).toBe(GOOD);
    expect(await daemon.log()).toContain(`process ${stranger.pid} called for vm "fc" and is not that vm's`);
    await daemon.tell("DELETE", "/vms/fc");
    expect(await readdir(folder)).toEqual(["v.sock"]);
  });

  test("is found again when it is started again, as another boot, also by the daemon after this one", async ({
    expect,
  }) => {
    const uds = join(await folderOf(RUNNER_A), "v.sock");
    const first = await vmm(RUNNER_A, uds);
    await adopt("fc", { uds });
    const { generation } = (await daemon.show("fc")).convergence;
    expect(await first.claim(`${uds}_5107`, KEY)).toBe(GOOD);
    await daemon.stop();
    await daemon.start();
    expect((await daemon.show("fc")).convergence.generation).toBe(generation);
    expect(await first.claim(`${uds}_5107`, OTHER)).toBe("HTTP/1.1 409 Conflict");
    await first[Symbol.asyncDispose]();
    await until("fc is stopped", async () => (await daemon.show("fc")).state === "stopped");
    await rm(uds);
    const second = await vmm(RUNNER_A, uds);
    expect(await second.claim(`${uds}_5107`, OTHER)).toBe(GOOD);
    const now = await daemon.show("fc");
    expect([now.state, now.pid]).toEqual(["running", second.pid]);
    expect(now.convergence.generation).toBe(generation + 1);
  });

  test("has its socket again when its folder was made anew", async ({ expect }) => {
    const folder = await folderOf(RUNNER_A);
    const uds = join(folder, "v.sock");
    await vmm(RUNNER_A, uds);
    await adopt("fc", { uds });
    await rename(folder, `${folder}.old`);
    await daemon.stop();
    await daemon.start();
    await until("the log says so", async () => (await daemon.log()).includes(`there is no folder "${folder}"`));
    await folderOf(RUNNER_A);
    const machine = await vmm(RUNNER_A, uds);
    await until("the socket is there", async () => (await readdir(folder)).includes("v.sock_5107"));
    expect(await machine.claim(`${uds}_5107`, KEY)).toBe(GOOD);
  });

  test("is refused where somebody else could have its socket, and nothing is left", async ({ expect }) => {
    const folder = await folderOf(RUNNER_A);
    const uds = join(folder, "v.sock");
    await expect(adopt("fc", { uds })).rejects.toThrow(`nobody listens on \\"${uds}\\"`);
    await vmm(RUNNER_A, uds);
    await chmod(folder, 0o1777);
    await expect(adopt("fc", { uds })).rejects.toThrow(
      /mode 1777: it should be of uid 1, and writable by nobody else.*install -d -m 700 -o 1 FOLDER/,
    );
    await chmod(folder, 0o700);
    await chown(folder, RUNNER_B, RUNNER_B);
    await expect(adopt("fc", { uds })).rejects.toThrow(`is of uid ${RUNNER_B} with mode 0700`);
    await chown(folder, RUNNER_A, RUNNER_A);
    await writeFile(`${uds}_5107`, "");
    await expect(adopt("fc", { uds })).rejects.toThrow('\\"v.sock_5107\\" is there already, and no socket');
    await rm(`${uds}_5107`);
    const other = createServer().listen(`${uds}_5107`);
    await once(other, "listening");
    await expect(adopt("fc", { uds })).rejects.toThrow('somebody else listens on \\"v.sock_5107\\"');
    other.close();
    expect(await daemon.tell("GET", "/vms")).toEqual([]);
    expect(await readdir(folder)).toEqual(["v.sock"]);
  });
});

describe("a vm whose process is said", () => {
  test("runs as long as that does, and is that runner's", async ({ expect }) => {
    const machine = await vmm(RUNNER_A);
    await daemon.vm("own", RUNNER_A, "db");
    await expect(daemon.tell("POST", "/vms/own/process", { pid: (await vmm(RUNNER_B)).pid })).rejects.toThrow(
      /is of uid 2, and vm \\"own\\" is run by uid 1/,
    );
    await daemon.tell("POST", "/vms/own/process", { pid: machine.pid });
    await expect(daemon.tell("POST", "/vms/own/process", { pid: (await vmm(RUNNER_A)).pid })).rejects.toThrow(
      `is process ${machine.pid} already`,
    );
    expect(await daemon.show("own")).toMatchObject({ state: "running", pid: machine.pid });
    await daemon.stop();
    await daemon.start();
    expect(await daemon.show("own")).toMatchObject({ state: "running", pid: machine.pid });
    await machine[Symbol.asyncDispose]();
    await until("own is stopped", async () => (await daemon.show("own")).state === "stopped");
  });

  test("has a cid that no other has, and only with a process", async ({ expect }) => {
    const [a, b] = [await vmm(RUNNER_A), await vmm(RUNNER_B)];
    await expect(adopt("none", { cid: 7 })).rejects.toThrow("a cid counts only while the process is seen");
    await expect(adopt("two", { pid: a.pid, uds: "/x" })).rejects.toThrow("one tells the vm's process, not two");
    await expect(adopt("low", { pid: a.pid, cid: 2 })).rejects.toThrow("is below 3");
    expect(await adopt("a", { pid: a.pid, cid: 7 })).toMatchObject({ cid: 7, pid: a.pid, adopted: { pid: null } });
    await expect(adopt("b", { pid: b.pid, cid: 7 })).rejects.toThrow('vm \\"a\\" has the cid 7 already');
    await expect(adopt("twin", { pid: a.pid })).rejects.toThrow("has the runner uid 1 already");
  });
});

/** One that waits before its guest's first instruction. Gives what ends it. */
async function qemu(...monitors: string[]): Promise<() => Promise<void>> {
  const qmp = monitors.flatMap((path) => ["-qmp", `unix:${path},server=on,wait=off`]);
  const options = ["-machine", "pc", "-accel", "tcg", "-S", "-nodefaults", "-no-user-config", "-display", "none"];
  const child = spawn("qemu-system-x86_64", [...options, ...qmp], { uid: RUNNER_A, gid: RUNNER_A, stdio: "ignore" });
  const end = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  };
  onTestFinished(end);
  for (const path of monitors)
    await until("QEMU listens", async () => (await readdir(join(path, ".."))).some((n) => path.endsWith(n)));
  return end;
}

describe("a vm that is adopted by QEMU's monitor", () => {
  test("has a port plugged in, and again when its QEMU is another", async ({ expect }) => {
    const folder = await folderOf(RUNNER_A);
    const [one, two] = [join(folder, "one.sock"), join(folder, "two.sock")];
    let end = await qemu(one, two);
    const vm = (await adopt("web", { qmp: one })) as VmBody;
    expect(vm).toMatchObject({ state: "running", adopted: { qmp: one } });
    expect(vm.problem).toBeUndefined();
    await expect(adopt("twin", { qmp: two })).rejects.toThrow("has the runner uid 1 already");
    await daemon.stop();
    await daemon.start();
    await end();
    await until("web is stopped", async () => (await daemon.show("web")).state === "stopped");
    for (const path of [one, two]) await rm(path);
    end = await qemu(one, two);
    await until("web is running", async () => (await daemon.show("web")).state === "running");
    expect((await daemon.show("web")).problem).toBeUndefined();
  });
});
