import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Daemon, type DaemonOptions } from "#daemon/daemon";
import { parseAddress } from "#daemon/listen";
import { HatchwayError } from "#error";
import { placesOf, type StatePlace } from "#daemon/places";
import { privateDirectory } from "#host/files";
import { endAtOnce, hideMemory } from "#host/libc";
import { takeInheritedSocket } from "#host/inherited-socket";
import { collectGarbage } from "#host/memory";
import { Supervisor } from "#host/supervisor";
import type { Places } from "#places";

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

/** Tells a daemon in the background that it is one, and over which descriptor it reports. */
const CHILD = "HATCHWAY_BACKGROUND";
/** Milliseconds for a daemon in the background to serve. */
const START_LIMIT = 30_000;

/** Runs the daemon until SIGTERM or SIGINT, or, in the background, until it serves. Answers the exit code. */
export async function serve(options: ServeOptions): Promise<number> {
  const places = placesOf(options);
  if (options.background === true && process.env[CHILD] === undefined) return serveInBackground(places);
  const { promise: ended, resolve: end } = Promise.withResolvers<HatchwayError | undefined>();
  const stop = (): void => end(undefined);
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);
  const { promise: serving, resolve: serves } = Promise.withResolvers<Daemon>();
  const onTerminal = process.stderr.isTTY;
  process.on("SIGHUP", () => {
    // The terminal that it was started on went away, and with it whoever watched it.
    if (onTerminal && !hasTerminal()) return stop();
    void serving.then(reload);
  });
  using supervisor = Supervisor.take(process.env);
  const adminSocket = takeInheritedSocket(places.socket, process.env);
  hideMemory();
  process.once("exit", (code) => endAtOnce(code));
  const echo = process.env[CHILD] === undefined;
  const { mode, askPassphrase, sealed = false } = options;
  const asking = askPassphrase && { askPassphrase };
  const daemon = await Daemon.start({
    mode,
    places,
    sealed,
    echo,
    onFatal: end,
    ...asking,
    ...networkOf(options),
    ...(adminSocket !== undefined && { adminSocket }),
  });
  serves(daemon);
  // To start takes memory that to serve does not.
  collectGarbage();
  process.send?.({ sealed: daemon.isSealed });
  process.disconnect?.();
  supervisor?.ready(daemon.isSealed ? "its keys are sealed: hatchway key unseal" : `serves on ${places.socket}`);
  const fatal = await ended;
  supervisor?.stopping();
  if (fatal) daemon.log.report(fatal);
  else daemon.log.write("stopping; running VMs go on");
  if (!fatal) {
    await daemon.close();
    return 0;
  }
  // What has failed cannot be closed in order either; why is known.
  await Promise.allSettled([daemon.close()]);
  throw fatal;
}

async function reload(daemon: Daemon): Promise<void> {
  daemon.log.write("SIGHUP: reading tokens and certificates again");
  await daemon.reload();
}

/** Whether the terminal of this process is still there: tty(4). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch (error) {
    if (error instanceof Error && "syscall" in error) return false;
    throw error;
  }
}

/** `--listen` and `--token-file`, as the configuration has such; the token is called by its flag. */
function networkOf({ listen }: ServeOptions): Pick<DaemonOptions, "listen" | "tokens"> {
  if (!listen) return {};
  const address = parseAddress(listen.address);
  if (address) return { listen: [address], tokens: [{ id: "token-file", path: listen.tokenFile }] };
  throw new HatchwayError("invalid", `"${listen.address}" is not an address and a port, such as "127.0.0.1:8080"`);
}

/** Starts this same command again, in a session of its own, and waits until it serves or ends. */
async function serveInBackground(places: Places): Promise<number> {
  await privateDirectory(places.state);
  // A file, since a pipe or terminal of ours would be held open, or be gone, while the daemon lives.
  const words = join(places.state, "daemon.stderr");
  await using stderr = await open(words, "w", 0o600);
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    env: { ...process.env, [CHILD]: "1" },
    stdio: ["ignore", "ignore", stderr.fd, "ipc"],
  });
  const late = AbortSignal.timeout(START_LIMIT);
  const serving = once(child, "message", { signal: late }).then(([said]) => said as { sealed: boolean });
  const exited = once(child, "exit", { signal: late }).then(() => undefined);
  let said: { sealed: boolean } | undefined;
  try {
    said = await Promise.race([serving, exited]);
    if (!said) {
      process.stderr.write(await readFile(words));
      return child.exitCode ?? 1;
    }
  } catch (cause) {
    throw new HatchwayError("timeout", `the daemon does not serve after ${START_LIMIT / 1000} s`, {
      hint: `see why in ${join(places.state, "daemon.log")}`,
      cause,
    });
  } finally {
    for (const loser of [serving, exited]) loser.catch(() => undefined);
  }
  if (child.connected) child.disconnect();
  child.unref();
  process.stdout.write(`serving on ${places.socket}, pid ${child.pid}\n`);
  if (said.sealed) process.stderr.write("hint: its keys are sealed: open them with: hatchway key unseal\n");
  return 0;
}
