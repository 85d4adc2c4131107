// What is done in the guest once changed values are in place: a unit reloaded or restarted, a signal, a program. No
// value is passed; each action runs once however many entries ask for it, and ends or is killed within its time.
import type { Manifest, ManifestEntry, OnChange } from "#protocol/manifest";
import { AgentError, reason } from "./error.ts";
import type { Refusal } from "./receipt.ts";
import { HERE, RESOLVE_NO_SYMLINKS, type Sys } from "./sys.ts";
import { decodeUtf8, encodeUtf8 } from "./text.ts";
import { isType, readAll, S_IFREG, statOrNone, using } from "./tree.ts";

const EACH_MS = 30_000;
const ALL_MS = 120_000;
const SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SYSTEMCTL = ["/usr/bin/systemctl", "/bin/systemctl"];
/** signal(7), for x86-64 and arm64. */
const SIGNALS: Record<string, number> = { HUP: 1, INT: 2, QUIT: 3, USR1: 10, USR2: 12, TERM: 15, CONT: 18, WINCH: 28 };

/** Entries whose value is new or another version than before, and that ask for something to be done. */
export function changedEntries(before: Manifest, after: Manifest): ManifestEntry[] {
  const versions = new Map(before.entries.map(({ name, version }) => [name, version]));
  return after.entries.filter((entry) => entry.onChange && versions.get(entry.name) !== entry.version);
}

/** Does what the entries ask for; what failed, with the reason. */
export function actOnChange(sys: Sys, entries: readonly ManifestEntry[]): Refusal[] {
  const failed: Refusal[] = [];
  const outcomes = new Map<string, string | undefined>();
  const deadline = sys.monotonic() + ALL_MS;
  for (const { name, onChange } of entries) {
    if (!onChange) continue;
    const key = JSON.stringify(onChange);
    if (!outcomes.has(key)) outcomes.set(key, outcome(sys, onChange, deadline));
    const problem = outcomes.get(key);
    if (problem !== undefined) failed.push({ name, reason: `on change: ${problem}` });
  }
  return failed;
}

function outcome(sys: Sys, action: OnChange, deadline: number): string | undefined {
  const left = Math.floor(deadline - sys.monotonic());
  if (left <= 0) return "no time was left for it";
  try {
    act(sys, action, Math.min(left, EACH_MS));
    return undefined;
  } catch (error) {
    return reason(error);
  }
}

function act(sys: Sys, action: OnChange, timeoutMs: number): void {
  if ("reload" in action) runSystemctl(sys, ["reload", action.reload], timeoutMs);
  else if ("restart" in action) runSystemctl(sys, ["restart", action.restart], timeoutMs);
  else if ("exec" in action) run(sys, action.exec, timeoutMs);
  else signalByFile(sys, action.signal, action.pidFile);
}

/** Throws AgentError "machine" when it ends with anything but success, or there is none. */
export function runSystemctl(sys: Sys, words: readonly string[], timeoutMs: number = EACH_MS): void {
  const path = SYSTEMCTL.find((candidate) => statOrNone(sys, HERE, candidate));
  if (path === undefined) throw new AgentError("machine", "this guest has no systemctl");
  run(sys, [path, ...words], timeoutMs);
}

function run(sys: Sys, argv: readonly string[], timeoutMs: number): void {
  const status = sys.run(argv.map(encodeUtf8), [encodeUtf8(`PATH=${SEARCH}`)], timeoutMs);
  const what = `"${argv.join(" ")}"`;
  if (status >= 256) throw new AgentError("machine", `${what} was killed by signal ${status - 256}`);
  if (status !== 0) throw new AgentError("machine", `${what} ended with exit code ${status}`);
}

/**
 * Signals the process that a pid file names. Its writer chooses who is signalled, so the file must be root's, or belong to
 * the user whose process it names; no part of its path may be a symlink.
 */
function signalByFile(sys: Sys, signal: string, path: string): void {
  const flags = sys.O_RDONLY | sys.O_NONBLOCK | sys.O_NOFOLLOW;
  using(sys, sys.openat2(HERE, path, flags, 0, RESOLVE_NO_SYMLINKS), (fd) => {
    const file = sys.fstat(fd);
    if (!isType(file, S_IFREG) || (file.mode & 0o022) !== 0) {
      throw new AgentError("machine", `"${path}" must be a file that only its owner can write`);
    }
    const match = /^([1-9][0-9]{0,8})\s*$/.exec(decodeUtf8(readAll(sys, fd, 64, path)));
    const pid = Number(match?.[1]);
    if (!match || pid === 1) throw new AgentError("machine", `"${path}" does not hold the pid of a process`);
    const process = statOrNone(sys, HERE, `/proc/${pid}`);
    if (!process) throw new AgentError("machine", `"${path}" names process ${pid}, which is not there`);
    if (file.uid !== 0 && file.uid !== process.uid) {
      throw new AgentError("machine", `"${path}" belongs to uid ${file.uid}, process ${pid} to uid ${process.uid}`);
    }
    sys.kill(pid, SIGNALS[signal] ?? 1);
  });
}
