// doctor: what is amiss with this host, its daemon and its VMs, each with the command that mends it. Changes nothing.
import type { StatusBody } from "#api";
import type { VmBody } from "#api-vm";
import { toHatchwayError } from "#error";
import { stripControl } from "#printable";
import { daemonFindings, hostFindings } from "./doctor-host.ts";
import { vmFindings, vmSummary } from "./doctor-vm.ts";
import type { Session } from "./session.ts";

export interface Finding {
  what: string;
  /** `note`: something that is not there, and need not be. */
  state: "ok" | "note" | "warn" | "fail";
  detail: string;
  /** A command, or what to do. */
  mend?: string;
}

/** As the help says. */
const FAILED = 1;

export async function doctor(session: Session, [name]: readonly string[]): Promise<number> {
  const findings = await (name === undefined ? examineAll(session) : examineVm(session, name));
  session.report(findings, () => findings.map((one) => lines(session, one, width(findings))).join("\n"));
  return findings.some(({ state }) => state === "fail") ? FAILED : 0;
}

async function examineAll(session: Session): Promise<Finding[]> {
  const status = await reach(session);
  if ("detail" in status) return [status, ...hostFindings(session.terminal.env)];
  const daemon = [...daemonFindings(status, session.client.isLocal), ...hostFindings(session.terminal.env)];
  if (status.sealed) return daemon;
  return [...daemon, ...(await session.client.vms()).map((vm) => vmSummary(vm, status))];
}

async function examineVm(session: Session, name: string): Promise<Finding[]> {
  const status = await reach(session);
  if ("detail" in status) return [status];
  const daemon = daemonFindings(status, session.client.isLocal).filter(({ state }) => state !== "ok");
  if (status.sealed) return daemon;
  const vm: VmBody = await session.client.vm(name);
  return [...daemon, ...vmFindings(vm, status, session.client.isLocal)];
}

async function reach({ client }: Session): Promise<StatusBody | Finding> {
  try {
    return await client.status();
  } catch (thrown) {
    const { message } = toHatchwayError(thrown);
    const mend = "hatchway serve --session --background, or as root --system";
    return { what: "daemon", state: "fail", detail: message, mend };
  }
}

function width(findings: readonly Finding[]): number {
  return Math.max(...findings.map(({ what }) => what.length));
}

function lines({ style }: Session, { what, state, detail, mend }: Finding, widest: number): string {
  const word = { ok: "ok  ", note: "-   ", warn: "warn", fail: "FAIL" }[state];
  const shown = state === "fail" ? style.out.red(word) : state === "warn" ? style.out.yellow(word) : word;
  const line = `${shown}  ${what.padEnd(widest)}  ${stripControl(detail)}`;
  return mend === undefined ? line : `${line}\n${"".padEnd(8 + widest)}mend it with: ${stripControl(mend)}`;
}
