// From a command line to an exit code.
import { asciiBytes } from "#protocol/json";
import { poll } from "./stream.ts";
import { serveCredentials } from "./credentials.ts";
import { AgentError, isFault, reason } from "./error.ts";
import { detectSource } from "./detect.ts";
import { examine, findingsJson, findingsText, type Finding } from "./doctor.ts";
import { become } from "./exec.ts";
import { Firmware } from "./firmware.ts";
import { Host } from "./host.ts";
import { initFile } from "./inits.ts";
import { openKey } from "./key.ts";
import { lockHolder, takeLock } from "./lock.ts";
import { Media, refuseAfterLive } from "./media.ts";
import { syncOnce } from "./once.ts";
import type { Origin } from "./origin.ts";
import { AGENT_VERSION, summary, type Refusal } from "./receipt.ts";
import { openRoot, type Root } from "./root.ts";
import { run } from "./run.ts";
import { readSet } from "./set.ts";
import { parseSource } from "./source.ts";
import { readStatus, type Status } from "./status.ts";
import { HERE, SysError, type Sys } from "./sys.ts";
import { decodeUtf8, encodeUtf8 } from "./text.ts";
import { dropIn } from "./units.ts";
import { parseUsage, type Command, type Place } from "./usage.ts";
import { statOrNone, writeAll } from "./tree.ts";
import { ProtocolError } from "#protocol/error";

const LOOK_MS = 20;

/** Does what the arguments say; the exit code. */
export function main(sys: Sys): number {
  try {
    return perform(sys, parseUsage(sys.args().map(decodeUtf8)));
  } catch (error) {
    // Anything else is a fault of the program itself, and ends it loudly.
    if (!(error instanceof AgentError || error instanceof SysError || error instanceof ProtocolError)) throw error;
    complain(sys, `error: ${error.message}`);
    return isFault(error, "usage") ? 2 : 1;
  }
}

function perform(sys: Sys, command: Command): number {
  switch (command.kind) {
    case "help":
      print(sys, command.text);
      return 0;
    case "version":
      print(sys, `hatchway-agent ${AGENT_VERSION}\n`);
      return 0;
    case "status":
      return showStatus(sys, command.root, command.json);
    case "doctor":
      return doctor(sys, command.root, command.json);
    case "sync":
      return sync(sys, open(sys, command), command);
    case "run":
      return runUntilStopped(sys, command);
    case "exec":
      return exec(sys, command);
    case "credentials":
      return serve(sys, command);
    case "units":
      print(sys, dropIn(command));
      return 0;
    case "init":
      writeAll(sys, 1, encodeUtf8(initFile(command.init, command.from)));
      return 0;
  }
}

/** A source that is wrong is refused before anything is mounted. */
function open(sys: Sys, place: Place): Root {
  if (place.from !== undefined) parseSource(place.from);
  return openRoot(sys, place.root, place.mount);
}

function originOf(sys: Sys, root: Root, { from, keyFile, tls, sshKeys }: Place): Origin {
  const source = from === undefined ? detectSource(sys, tls) : parseSource(from);
  switch (source.kind) {
    case "fw-cfg":
    case "smbios":
      return new Firmware(sys, source);
    case "label":
    case "serial":
    case "dir":
    case "file":
      refuseAfterLive(source, sourceInForce(sys, root));
      return new Media(sys, source, from === undefined ? "fixed" : "any", () => openKey(sys, keyFile));
    case "virtio-serial":
    case "vsock":
    case "unix":
    case "unix-serial":
    case "ssh":
      return new Host(sys, root, source, sshKeys);
    case "tls":
      return new Host(sys, root, { ...source, ...(tls !== undefined && { identity: tls }) }, sshKeys);
  }
}

function sourceInForce(sys: Sys, root: Root): string {
  const status = readStatus(sys, root);
  return status === undefined || status.revision === "" ? "" : status.source;
}

function sync(sys: Sys, root: Root, place: Place): number {
  const log = (line: string): void => complain(sys, line);
  const { secrets, revision, refused } = syncOnce(sys, root, () => originOf(sys, root, place), log);
  for (const refusal of refused) complain(sys, refusalLine(refusal));
  print(sys, `${summary(secrets, revision)}\n`);
  return 0;
}

function runUntilStopped(sys: Sys, place: Place): number {
  const root = open(sys, place);
  const host = originOf(sys, root, place);
  // Before the lock says that we run: from then on others send us SIGHUP.
  sys.catchSignals();
  while (!takeLock(sys, root, "run")) {
    const holder = lockHolder(sys, root);
    if (holder?.role === "run") {
      throw new AgentError("machine", `another hatchway-agent runs here already, process ${holder.pid}`);
    }
    // A sync that someone has started is soon done.
    poll(sys, -1, 0, LOOK_MS);
  }
  run(sys, root, host, (line) => complain(sys, `hatchway-agent: ${line}`));
  return 0;
}

function exec(sys: Sys, command: Command & { kind: "exec" }): number {
  const root = open(sys, command);
  const isThere = readSet(sys, root, () => true);
  if (!isThere) {
    syncOnce(
      sys,
      root,
      () => originOf(sys, root, command),
      (line) => complain(sys, line),
    );
  }
  return become(sys, root, sys.args().slice(command.first), (line) => complain(sys, `error: ${line}`));
}

function serve(sys: Sys, command: Command & { kind: "credentials" }): number {
  const root = openMade(sys, command.root);
  if (!root) throw new AgentError("machine", 'no hatchway-agent has run here yet: start "hatchway-agent run" first');
  sys.catchSignals();
  serveCredentials(sys, root, command, (line) => complain(sys, `hatchway-agent: ${line}`));
  return 0;
}

/** The root where an agent has made it; to look changes nothing. */
function openMade(sys: Sys, path: string): Root | undefined {
  if (sys.geteuid() !== 0) throw new AgentError("machine", "hatchway-agent must run as root");
  return statOrNone(sys, HERE, `${path}/.agent`) && openRoot(sys, path, false);
}

function showStatus(sys: Sys, path: string, json: boolean): number {
  const root = openMade(sys, path);
  const status = root && readStatus(sys, root);
  if (!status) throw new AgentError("machine", "no hatchway-agent has run here yet");
  const { begun: _begun, done: _done, ...shown } = status;
  print(sys, json ? `${JSON.stringify(shown)}\n` : statusText(status));
  return 0;
}

function doctor(sys: Sys, path: string, json: boolean): number {
  if (sys.geteuid() !== 0) throw new AgentError("machine", "hatchway-agent must run as root");
  const findings = examine(sys, path, agentFindings(sys, openMade(sys, path)));
  print(sys, json ? findingsJson(findings) : findingsText(findings));
  return findings.some(({ state }) => state === "fail") ? 1 : 0;
}

/** What an agent has done here. */
function agentFindings(sys: Sys, root: Root | undefined): Finding[] {
  const status = root && readStatus(sys, root);
  if (!root || !status) {
    return [{ what: "agent", state: "none", detail: "none has run here", mend: "hatchway-agent run, or sync" }];
  }
  const { revision, source, secrets, applied, reachable, contact, problem, refused } = status;
  const inForce: Finding =
    revision === ""
      ? { what: "set", state: "fail", detail: "no secrets are in force", mend: "hatchway-agent sync" }
      : { what: "set", state: "ok", detail: `${secrets} of revision ${revision}, from ${source}, since ${applied}` };
  const host: Finding = reachable
    ? { what: "host", state: "ok", detail: `answered ${contact}` }
    : {
        what: "host",
        state: "fail",
        detail: `does not answer: ${problem || "nothing was heard"}`,
        mend: "on the host: hatchway doctor NAME",
      };
  return [
    inForce,
    host,
    ...refused.map(({ name, reason: why }): Finding => ({
      what: "refused",
      state: "fail",
      detail: `"${name}": ${why}`,
    })),
  ];
}

function statusText(status: Status): string {
  const host = status.reachable ? "answers" : "does not answer";
  const lines = [
    `source    ${status.source}`,
    `revision  ${status.revision || "none"}`,
    `secrets   ${status.secrets}`,
    `applied   ${status.applied || "never"}`,
    `host      ${host}, last answer ${status.contact || "never"}`,
    `memory    ${status.mount}`,
  ];
  if (status.problem !== "") lines.push(`problem   ${status.problem}`);
  return [...lines, ...status.refused.map(refusalLine), ""].join("\n");
}

function refusalLine({ name, reason: why }: Refusal): string {
  return `refused "${name}": ${why}`;
}

function print(sys: Sys, text: string): void {
  writeAll(sys, 1, asciiBytes(text));
}

/** On stderr; when that is gone there is nobody left to tell. */
function complain(sys: Sys, line: string): void {
  try {
    writeAll(sys, 2, encodeUtf8(`${line}\n`));
  } catch (error) {
    if (!(error instanceof SysError)) throw new Error(reason(error), { cause: error });
  }
}
