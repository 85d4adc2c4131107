// A guest with Debian trixie's systemd as process 1 (scripts/build-systemd-guest), the agent and its units in it, and a host
// that a test scripts. It boots into one target, with what that wants and nothing else.
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { ShellResult } from "#client/guest-shell";
import { GuestMachine, guestFiles, machineFolder, nobody } from "#test/kit/guest";
import { COMPILED } from "#test/kit/guest-namespace";
import { HostPeer } from "#test/kit/host-peer";
import type { MachineSpec } from "#vmm";

const ROOT = resolve(import.meta.dirname, "../..");
const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "hatchway");
const image = join(cache, "systemd-guest");

/** Milliseconds for a script; a daemon that it starts has a minute of a busy machine to do so. */
const LIMIT = 240_000;

/** The other end of #client/guest-shell. */
const SHELL = `#!/bin/bash
for name in /sys/class/virtio-ports/*/name; do
  if [ "$(<"$name")" = org.hatchway.shell ]; then port="/dev/$(basename "$(dirname "$name")")"; fi
done
exec 3<>"$port"
newest=
while :; do
  if ! IFS=' ' read -r token encoded <&3; then sleep 0.1; continue; fi
  case "$token" in "$newest" | '' | *[!0-9a-f]*) continue ;; esac
  newest="$token"
  printf '%s start\\n' "$token" >&3
  bash -c "$(base64 -d <<<"$encoded")" </dev/null >&3 2>&1 3>&-
  printf '\\n%s exit %d\\n' "$token" $? >&3
done
`;

const SHELL_UNIT = `[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/bin/host-shell
`;

export interface GuestExtras {
  machine?: Partial<MachineSpec>;
  /** Drivers of the kernel that are loaded besides, by name, in this order. */
  modules?: readonly string[];
}

export class SystemdGuest implements AsyncDisposable {
  readonly host: HostPeer;
  readonly #machine: GuestMachine;

  private constructor(host: HostPeer, machine: GuestMachine) {
    this.host = host;
    this.#machine = machine;
  }

  /** `files` by their absolute paths in the guest; `wants` are the units that it boots into. */
  static async boot(
    host: HostPeer,
    files: Readonly<Record<string, string>>,
    wants: readonly string[],
    { machine: more = {}, modules = [] }: GuestExtras = {},
  ): Promise<SystemdGuest> {
    if (!existsSync(join(image, "root.erofs"))) {
      throw new Error(`"${image}" has no guest: run scripts/build-systemd-guest`);
    }
    const directory = machineFolder(nobody);
    const disk = join(directory, "root.erofs");
    copyFileSync(join(image, "root.erofs"), disk);
    chownSync(disk, nobody.uid, nobody.gid);
    const machine = await GuestMachine.launch({
      directory,
      kernel: guestFiles().kernel,
      initrd: initrd(directory, { ...files, ...targetOf(wants) }, modules),
      disk: { path: disk, format: "raw" },
      memoryMiB: 512,
      append: "systemd.unit=test.target systemd.show_status=no systemd.firstboot=no systemd.log_target=kmsg loglevel=4",
      ...more,
    });
    for (const port of machine.ports) host.serveSerial(port);
    machine.serial.on("connection", (port) => host.serveSerial(port));
    return new SystemdGuest(host, machine);
  }

  run(script: string): Promise<ShellResult> {
    return this.#machine.run(script, LIMIT);
  }

  async output(script: string): Promise<string> {
    const { code, output } = await this.run(script);
    if (code !== 0) throw new Error(`"${script}" ended with ${code} in the guest: ${output.toString()}`);
    return output.toString();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine[Symbol.asyncDispose]();
    await this.host.close();
  }
}

function targetOf(wants: readonly string[]): Record<string, string> {
  return {
    "/usr/bin/host-shell": SHELL,
    "/etc/systemd/system/host-shell.service": SHELL_UNIT,
    "/etc/systemd/system/test.target": `[Unit]\nDefaultDependencies=no\nWants=host-shell.service ${wants.join(" ")}\n`,
  };
}

function addModules(tree: string, modules: readonly string[]): void {
  const kernel = join(cache, "guest/kernel/lib/modules");
  const all = readdirSync(kernel, { recursive: true, encoding: "utf8" });
  mkdirSync(join(tree, "lib/modules"), { recursive: true });
  for (const name of modules) {
    const found = all.find((path) => path.endsWith(`/${name}.ko`));
    if (found === undefined) throw new Error(`the kernel has no driver ${name}`);
    copyFileSync(join(kernel, found), join(tree, "lib/modules", `${name}.ko`));
  }
  writeFileSync(join(tree, "modules"), modules.join(" "));
}

/** The guest's initrd and, behind it, an archive of what is laid over the root. */
function initrd(directory: string, files: Readonly<Record<string, string>>, modules: readonly string[]): string {
  const add = join(directory, "tree/add");
  const [agent = ""] = COMPILED.command;
  cpSync(join(ROOT, "guest/systemd"), join(add, "etc/systemd/system"), { recursive: true });
  mkdirSync(join(add, "usr/bin"), { recursive: true });
  copyFileSync(agent, join(add, "usr/bin/hatchway-agent"));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(add, dirname(path)), { recursive: true });
    writeFileSync(join(add, path), text, { mode: text.startsWith("#!") ? 0o755 : 0o644 });
  }
  chmodSync(add, 0o755);
  addModules(join(directory, "tree"), modules);
  const names = execFileSync("find", [".", "-mindepth", "1"], { cwd: join(directory, "tree") });
  const archive = execFileSync("cpio", ["--quiet", "--create", "--format=newc", "--owner=0:0"], {
    cwd: join(directory, "tree"),
    input: names,
    maxBuffer: 64 * 1024 * 1024,
  });
  const both = join(directory, "initrd.img");
  copyFileSync(join(image, "initrd.img"), both);
  appendFileSync(both, archive);
  chownSync(both, nobody.uid, nobody.gid);
  return both;
}
