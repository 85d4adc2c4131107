import { existsSync } from "node:fs";
import { chmod, copyFile, mkdir, readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import { packageRoot } from "#host/package-root";
import { Mutex } from "#mutex";
import type { LaunchOptions, Runner } from "#vm";
import type { Accelerator, MachineSpec } from "#vmm";
import { minimalGuest, packedKernel } from "#vmm/guest";

/** What a VM boots. */
export interface GuestImage {
  /** The kernel by which it is tried whether KVM works. */
  probed: string;
  files(accelerator: Accelerator): Pick<MachineSpec, "kernel" | "initrd">;
  /** Whether it is the project's own guest, which has a shell port. */
  own: boolean;
}

/** The VM's own kernel, or the minimal guest that scripts/build-guest made. */
export async function guestImage(launch: LaunchOptions, runner: Runner, runtime: string): Promise<GuestImage> {
  const { kernel, initrd } = launch;
  const given = initrd === undefined ? {} : { initrd };
  if (kernel !== undefined) return { probed: kernel, files: () => ({ kernel, ...given }), own: false };
  const built = join(packageRoot(), "dist/guest/x86_64");
  if (!existsSync(packedKernel(built))) {
    throw new HatchwayError("not-found", `the minimal guest is not built: there is no "${packedKernel(built)}"`, {
      hint: `build it with ${join(packageRoot(), "scripts/build-guest")}, or name a kernel with --kernel`,
    });
  }
  const folder =
    runner.uid === ownUid() ? built : await copying.run("guest", () => readableCopy(built, join(runtime, "guest")));
  return {
    probed: packedKernel(folder),
    files: (accelerator) => ({ ...minimalGuest(folder, accelerator), ...given }),
    own: initrd === undefined,
  };
}

/** One copy is made at a time: a second would write into files that the first has put in place. */
const copying = new Mutex();

/** A copy that every user can read: the clone itself may lie in somebody's home. */
function readableCopy(from: string, to: string): Promise<string> {
  return copying.run(to, () => copyReadable(from, to));
}

async function copyReadable(from: string, to: string): Promise<string> {
  await mkdir(to, { recursive: true });
  await chmod(to, 0o755);
  for (const name of await readdir(from)) {
    const source = await stat(join(from, name));
    const target = join(to, name);
    const there = existsSync(target) ? await stat(target) : undefined;
    if (there?.size === source.size && there.mtimeMs >= source.mtimeMs) continue;
    await copyFile(join(from, name), `${target}.next`);
    await chmod(`${target}.next`, 0o644);
    await rename(`${target}.next`, target);
  }
  return to;
}
