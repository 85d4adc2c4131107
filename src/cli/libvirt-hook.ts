// libvirt-hook: what libvirt runs when a domain starts (https://libvirt.org/hooks.html), so that the daemon knows its
// process at once. A hook must not call libvirt back, which waits for it, and must not fail: a domain does not depend on it.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { exitCode, HatchwayError, toHatchwayError } from "#error";
import { vmNameProblem } from "#protocol/names";
import type { Session } from "./session.ts";

/** Since libvirt 6.5 each program in it is run, in order; the user's own `qemu` stays as it is. */
export const HOOKS = "/etc/libvirt/hooks/qemu.d";
const FILE = "hatchway";

export interface HookFlags {
  connect?: string;
  folder?: string;
}

/** The program that libvirt runs. */
function script(uri: string): string {
  const command = resolve(process.argv[1] ?? "hatchway", "../../bin/hatchway");
  return [
    "#!/bin/sh",
    "# Tells Hatchway which process a domain is, as hatchway libvirt-hook install made it. Never keeps a domain from starting.",
    `exec ${[command, "-c", uri].map(quoted).join(" ")} libvirt-hook run "$@" </dev/null`,
    "",
  ].join("\n");
}

/** A word of a POSIX shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

export async function printHook(session: Session, _operands: readonly string[], flags: HookFlags): Promise<undefined> {
  session.terminal.stdout.write(script(flags.connect ?? "secret:///system"));
}

export async function installHook(
  session: Session,
  _operands: readonly string[],
  flags: HookFlags,
): Promise<undefined> {
  const folder = resolve(flags.folder ?? HOOKS);
  const path = join(folder, FILE);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    writeFileSync(path, script(flags.connect ?? "secret:///system"), { mode: 0o755 });
    chmodSync(path, 0o755);
  } catch (cause) {
    const { code = "unknown" } = cause as NodeJS.ErrnoException;
    throw new HatchwayError(code === "EACCES" ? "forbidden" : "invalid", `cannot write "${path}": ${code}`, {
      hint: "libvirt's hooks are root's; see what it would be with: hatchway libvirt-hook print",
      cause,
    });
  }
  session.report({ path }, () => `wrote "${path}"; libvirt sees a new folder of hooks when it is started anew`);
}

/** `domain`, `operation`, `sub-operation`, `extra`, as libvirt calls it. Answers 0 whatever becomes of it. */
export async function runHook(
  session: Session,
  [domain = "", operation = "", sub = ""]: readonly string[],
): Promise<number> {
  // What could be no VM's name is none.
  if (operation !== "started" || sub !== "begin" || vmNameProblem(domain) !== undefined) return 0;
  try {
    await session.client.observeVm(domain, pidOf(domain));
  } catch (thrown) {
    const { code, message } = toHatchwayError(thrown);
    // Most domains have nothing to do with Hatchway, and one that was adopted by libvirt is found by that.
    if (code === "not-found" || code === "conflict") return 0;
    session.terminal.stderr.write(`hatchway: domain "${domain}": ${message} (${exitCode[code]})\n`);
  }
  return 0;
}

/** libvirt writes it before it calls the hook. Throws "not-found". */
function pidOf(domain: string): number {
  const user = process.geteuid?.() === 0 ? "/run/libvirt/qemu" : `${process.env["XDG_RUNTIME_DIR"]}/libvirt/qemu/run`;
  try {
    return Number(readFileSync(join(user, `${domain}.pid`), "latin1"));
  } catch (cause) {
    throw new HatchwayError("not-found", `domain "${domain}" has no process`, { cause });
  }
}
