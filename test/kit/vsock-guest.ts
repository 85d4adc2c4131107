// A VM that something else than Hatchway runs: QEMU with a vsock whose host end is unix sockets, as Firecracker's and
// Cloud Hypervisor's are. vhost-device-vsock (scripts/fetch-vhost-vsock) is that device; nothing of the host's own
// AF_VSOCK is touched. The guest is the minimal one, with a program that lets any user of it speak vsock.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runInGuest, type ShellResult } from "#client/guest-shell";
import { guestFiles } from "#test/kit/guest";

const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
const device = join(cache, "hatchway/vhost-device-vsock/usr/bin/vhost-device-vsock");
/** Whatever the guest is called by, it calls the host 2. */
const GUEST_CID = "4";

export class VsockGuest implements AsyncDisposable {
  readonly folder: string = mkdtempSync("/tmp/hwv.");
  readonly #uds: string;
  readonly #initrd: string;
  #processes: ChildProcess[] = [];

  private constructor(uds: string) {
    this.#uds = uds;
    this.#initrd = withClient(this.folder);
  }

  /** `uds`: the vsock path that `vm show` names. The guest has begun to boot. `more`: options of QEMU's. */
  static async boot(uds: string, append = "", more: readonly string[] = []): Promise<VsockGuest> {
    if (!existsSync(device)) throw new Error(`"${device}" does not exist: run scripts/fetch-vhost-vsock`);
    const guest = new VsockGuest(uds);
    await guest.start(append, more);
    return guest;
  }

  /** Starts device and machine; `more`: options of QEMU's. */
  async start(append = "", more: readonly string[] = []): Promise<void> {
    const vsock = join(this.folder, "vhost.sock");
    // One that a killed device left.
    for (const stale of [vsock, this.#uds]) rmSync(stale, { force: true });
    this.#run(device, ["--guest-cid", GUEST_CID, "--socket", vsock, "--uds-path", this.#uds]);
    while (!existsSync(vsock)) {
      if (this.#processes[0]?.exitCode !== null) throw new Error("vhost-device-vsock ended");
      await sleep(20);
    }
    const { kernel } = guestFiles();
    const words = "console=ttyS0 quiet panic=-1 cryptomgr.notests nokaslr tsc=reliable no_timer_check lpj=4000000";
    const options = [
      ["-machine", "q35,memory-backend=memory", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "192M"],
      ["-object", "memory-backend-memfd,id=memory,size=192M,share=on"],
      ["-nodefaults", "-no-user-config", "-display", "none", "-serial", `file:${join(this.folder, "console.log")}`],
      ["-kernel", kernel, "-initrd", this.#initrd],
      ["-append", `${words} hatchway.from=vsock:2:5107 ${append}`],
      ["-chardev", `socket,id=vsock,path=${vsock}`, "-device", "vhost-user-vsock-pci,chardev=vsock"],
      ["-device", "virtio-serial-pci", "-chardev", `socket,id=shell,path=${this.#shell},server=on,wait=off`],
      ["-device", "virtserialport,chardev=shell,name=org.hatchway.shell"],
      [...more],
    ];
    this.#run("qemu-system-x86_64", options.flat());
    while (!existsSync(this.#shell)) await sleep(20);
  }

  /** Ends machine and device, as their user does. */
  async stop(): Promise<void> {
    for (const child of this.#processes.splice(0).toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    }
    rmSync(this.#shell, { force: true });
  }

  /** Runs a shell script in the guest as root. */
  run(script: string): Promise<ShellResult> {
    return runInGuest(this.#shell, ["sh", "-c", script], { timeoutMs: 60_000 });
  }

  async output(script: string): Promise<string> {
    const { code, output } = await this.run(script);
    if (code !== 0) throw new Error(`"${script}" ended with ${code} in the guest: ${output.toString()}`);
    return output.toString();
  }

  /** What the host answers to raw bytes that an unprivileged process of the guest sends to its port 5107. */
  async ask(request: string, user = "app"): Promise<string> {
    const bytes = Buffer.from(request).toString("base64");
    const { output } = await this.run(`echo ${bytes} | base64 -d | su ${user} -c 'vsock-client 2 5107'`);
    return output.toString("latin1");
  }

  get console(): string {
    return readFileSync(join(this.folder, "console.log"), "latin1");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true });
  }

  get #shell(): string {
    return join(this.folder, "shell.sock");
  }

  #run(program: string, args: string[]): void {
    this.#processes.push(spawn(program, args, { stdio: "ignore" }));
  }
}

/** The guest's initrd and, behind it, another archive, which Linux unpacks over the first (its initramfs documentation). */
function withClient(folder: string): string {
  const { initrd } = guestFiles();
  if (initrd === undefined) throw new Error("the minimal guest has no initrd");
  const tree = join(folder, "tree");
  mkdirSync(join(tree, "usr/bin"), { recursive: true });
  const client = join(tree, "usr/bin/vsock-client");
  const source = join(import.meta.dirname, "vsock-client.c");
  // The kernel's headers come after musl's own.
  const kernelHeaders = ["/usr/include", "/usr/include/x86_64-linux-gnu"].flatMap((path) => ["-idirafter", path]);
  execFileSync("musl-gcc", ["-static", "-Os", "-s", "-Wall", "-Werror", ...kernelHeaders, "-o", client, source]);
  const archive = execFileSync("cpio", ["--quiet", "--create", "--format=newc", "--owner=0:0"], {
    cwd: tree,
    input: "usr/bin/vsock-client\n",
  });
  const both = join(folder, "initrd.img");
  copyFileSync(initrd, both);
  writeFileSync(both, archive, { flag: "a" });
  return both;
}
