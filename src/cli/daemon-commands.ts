// serve, stop, status, logs, version.
import type { Command } from "commander";
import type { StatusBody } from "#api";
import { HatchwayError } from "#error";
import { VERSION } from "#version";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { examples, leaf, type Action, type Run } from "./command.ts";
import { daemonLogs } from "./logs.ts";
import { promptOnce } from "./prompt.ts";
import { formatSpan, plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatFields } from "./table.ts";
import type { StatePlace } from "./offline.ts";
import { readPlace, type PlaceFlags } from "./place-flags.ts";
import { logFlags } from "./vm-commands.ts";

export interface ServeOptions extends StatePlace {
  /** Answer once the daemon serves, and leave it running. */
  background?: boolean;
  /** Start with the keys sealed. */
  sealed?: boolean;
  /** Asks for the passphrase of the store, where there is a terminal. */
  askPassphrase?: (label: string) => Promise<Buffer>;
  /** An address of the loopback to serve on as well, and the private file with the token that opens it. */
  listen?: { address: string; tokenFile: string };
}

/** Runs the daemon until it ends, or until it serves when it stays in the background. Answers the exit code. */
export type Serve = (options: ServeOptions) => Promise<number>;

interface ServeFlags extends PlaceFlags {
  background?: true;
  sealed?: true;
  listen?: string;
  tokenFile?: string;
}

export function addDaemonCommands(run: Run, program: Command, serve: Serve): void {
  const serveAction = ({ terminal }: Session, _operands: readonly string[], flags: ServeFlags): Promise<number> => {
    const asks = terminal.stdin.isTTY === true && flags.background !== true;
    const askPassphrase = (label: string): Promise<Buffer> => promptOnce(terminal, label);
    return serve({ ...readServeFlags(flags), ...(asks && { askPassphrase }) });
  };
  leaf(run, program, "serve", "run the daemon", defineServe, serveAction);
  leaf(run, program, "stop", "end the daemon; running VMs go on", (command) => command, stopDaemon);
  leaf(run, program, "status", "show the daemon, its store and its VMs", (command) => command, showStatus);
  leaf(run, program, "logs", "show the daemon's log", logFlags, daemonLogs);
  leaf(run, program, "doctor [vm]", "say what is amiss, and what mends it", defineDoctor, lazyDoctor);
  leaf(run, program, "version", "show the version", (command) => command, showVersion);
}

/** Loads what looks at the machine, which no other command needs. */
const lazyDoctor: Action<object> = async (session, operands) => (await import("./doctor.ts")).doctor(session, operands);

function defineDoctor(command: Command): Command {
  return command
    .description(
      "Look at the daemon, its store, this machine and each VM, or at one VM: its process, sockets, last contact, what its " +
        "guest refused. Below what is amiss is the command that mends it. Changes nothing. Exit code: 0, or 1 where " +
        "something fails.",
    )
    .addHelpText("after", examples("hatchway doctor", "hatchway doctor web-1"));
}

function defineServe(command: Command): Command {
  return command
    .option("--session", "your own daemon, which only you and root can reach (the default, but for root)")
    .option("--system", "the machine's daemon (the default for root)")
    .option("--background", "return when it serves, and leave it running")
    .option("--state <folder>", "keep the state there")
    .option("--sealed", "open no key until somebody does: hatchway key unseal")
    .option("--listen <address:port>", "serve the admin API there too, on the loopback; needs --token-file")
    .option("--token-file <file>", "the file with the token that opens it, which only you can read")
    .addHelpText("after", examples("hatchway serve --session --background", "hatchway serve --system"));
}

function readServeFlags(flags: ServeFlags): ServeOptions {
  const options: ServeOptions = readPlace(flags);
  if (flags.background === true) options.background = true;
  if (flags.sealed === true) options.sealed = true;
  if ((flags.listen === undefined) !== (flags.tokenFile === undefined)) {
    throw new HatchwayError("invalid", "--listen and --token-file need each other", {
      hint: "more addresses, tokens and TLS: the keys listen and tokens of config.yaml",
    });
  }
  if (flags.listen !== undefined && flags.tokenFile !== undefined) {
    options.listen = { address: flags.listen, tokenFile: resolve(flags.tokenFile) };
  }
  return options;
}

/** Milliseconds for a daemon to end that was told to. */
const STOP_LIMIT = 10_000;

async function stopDaemon(session: Session): Promise<undefined> {
  const { client } = session;
  // The pid of a daemon on a network may be somebody else's here.
  if (!client.isLocal)
    throw new HatchwayError("unsupported", "a daemon is stopped over its socket, on its own machine");
  const { pid, vms = [] } = await client.status();
  try {
    process.kill(pid, "SIGTERM");
  } catch (cause) {
    throw new HatchwayError("forbidden", `the daemon (pid ${pid}) belongs to another user`, { cause });
  }
  const deadline = performance.now() + STOP_LIMIT;
  while (isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new HatchwayError("timeout", `the daemon (pid ${pid}) still runs after ${STOP_LIMIT / 1000} s`);
    }
    await sleep(20);
  }
  const running = vms.filter(({ state }) => state === "running").map(({ name }) => name);
  session.report({ stopped: pid, running }, () => {
    const going = running.length === 0 ? "" : `; still running: ${running.join(", ")}`;
    return `stopped the daemon, pid ${pid}${going}`;
  });
}

/** Whether there is such a process that has not ended; proc(5): the state follows the last parenthesis. */
function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(")") + 1));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

async function showStatus(session: Session): Promise<undefined> {
  const status = await session.client.status();
  session.report(status, () =>
    formatFields([
      ["daemon", `hatchway ${status.version}, ${status.mode}, pid ${status.pid}, up ${upTime(status)}`],
      ["socket", status.socket],
      ["state", status.state],
      ["store", `${status.store.kind}, revision ${status.store.revision}, epoch ${status.store.epoch}`],
      ...(status.store.folder === undefined ? [] : [["folder", status.store.folder] as const]),
      ...(status.sealed
        ? [["keys", "sealed: open them with: hatchway key unseal"] as const]
        : [["secrets", String(status.secrets)] as const, ["vms", describeVms(status.vms)] as const]),
    ]),
  );
  if (session.json) return;
  for (const { name, problem } of status.store.problems ?? []) {
    session.warn(`"${name === "" ? status.store.folder : name}" ${problem}`);
  }
}

function upTime(status: StatusBody): string {
  return formatSpan(Date.now() - Date.parse(status.started_at));
}

function describeVms(vms: StatusBody["vms"] = []): string {
  if (vms.length === 0) return "none";
  const running = vms.filter(({ state }) => state === "running");
  const failed = vms.filter(({ state }) => state === "failed");
  const behind = running.filter(({ in_sync: inSync }) => !inSync);
  const parts = [`${plural(vms.length, "VM")}, ${running.length} running`];
  if (failed.length > 0) parts.push(`failed: ${failed.map(({ name }) => name).join(", ")}`);
  if (behind.length > 0) parts.push(`not in sync: ${behind.map(({ name }) => name).join(", ")}`);
  return parts.join("; ");
}

async function showVersion(session: Session): Promise<undefined> {
  const version = { hatchway: VERSION, node: process.versions.node };
  session.report(version, () => `hatchway ${VERSION} (node ${process.versions.node})`);
}
