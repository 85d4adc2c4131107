// agent install: the agent into a running guest, by ssh. The other side is guest/ssh/install.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HatchwayError } from "#error";
import { packageRoot } from "#host/package-root";
import type { Session } from "./session.ts";
import { GuestScript, type SshFlags } from "./ssh-client.ts";

export const INITS = ["systemd", "openrc", "plain"] as const;

export interface InstallFlags extends SshFlags {
  init?: string;
  from?: string;
  dryRun?: true;
}

/** Of a source of the agent, which itself knows which there are: nothing that a unit or a script reads otherwise. */
const SOURCE = /^[a-z][A-Za-z0-9:@./_[\]-]{0,300}$/;

export async function installAgent(session: Session, _: readonly string[], flags: InstallFlags): Promise<undefined> {
  const wantedInit = readInit(flags.init);
  const from = readFrom(flags.from);
  const script = readFileSync(join(packageRoot(), "guest/ssh/install"), "utf8");
  const token = randomBytes(16).toString("hex");
  await using guest = GuestScript.start(flags, script, [token]);
  const [architecture = "", found = "", there = ""] = (await guest.line(`${token} machine `)).split(" ");
  const agent = readAgent(architecture);
  const init = wantedInit ?? found;
  const isThere = there === agent.sha256;
  const plan = {
    guest: flags.ssh,
    architecture,
    init,
    agent: isThere ? "there" : "to be copied",
    sha256: agent.sha256,
  };
  if (flags.dryRun === true) {
    guest.finish();
    await guest.ended();
    session.report({ ...plan, changed: [] }, () => describePlan(plan));
    return;
  }
  await guest.send(Buffer.from(`${agent.sha256} ${init} ${from ?? "-"}\n`));
  if (!isThere) await guest.send(agent.bytes);
  guest.finish();
  const changed = await changesOf(guest, token);
  await guest.ended();
  session.report({ ...plan, changed }, () =>
    changed.length === 0 ? `"${flags.ssh}" has it all already` : `"${flags.ssh}": ${changed.join(", ")}`,
  );
}

async function changesOf(guest: GuestScript, token: string): Promise<string[]> {
  const changed: string[] = [];
  for (;;) {
    const line = await guest.line(`${token} `);
    if (line === "done") return changed;
    if (line.startsWith("did ")) changed.push(line.slice("did ".length));
  }
}

function describePlan({ guest, architecture, init, agent, sha256 }: Record<string, string>): string {
  return `"${guest}" is ${architecture} with ${init}: the agent (sha256 ${sha256}) is ${agent}; nothing was changed`;
}

/** Throws "unsupported" for an architecture that there is no agent for. */
export function readAgent(architecture: string): { bytes: Buffer; sha256: string } {
  const path = join(packageRoot(), "dist/agent", architecture, "hatchway-agent");
  if (!/^(?:x86_64|aarch64)$/.test(architecture)) {
    throw new HatchwayError("unsupported", `there is no agent for "${architecture}": x86_64 and aarch64 have one`);
  }
  try {
    const bytes = readFileSync(path);
    return { bytes, sha256: createHash("sha256").update(bytes).digest("hex") };
  } catch (cause) {
    const hint = `build it with ${join(packageRoot(), "scripts/build-agent")} ${architecture}`;
    throw new HatchwayError("not-found", `the agent is not built: there is no "${path}"`, { hint, cause });
  }
}

function readInit(said: string | undefined): string | undefined {
  const init = INITS.find((one) => one === said);
  if (said === undefined || init) return init;
  throw new HatchwayError("invalid", `--init "${said}" is none of ${INITS.join(", ")}`);
}

export function readFrom(said: string | undefined): string | undefined {
  if (said === undefined || SOURCE.test(said)) return said;
  throw new HatchwayError("invalid", `--from "${said}" is no source of the agent, such as vsock:2:5107`);
}
