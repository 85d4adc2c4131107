// vm exec: one's own VMM with what `vm args` says added, and the secrets of its boot in memory that it inherits.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { constants } from "node:os";
import type { Socket } from "node:net";
import type { ArgumentsBody, VmBody } from "#api-vm";
import { HatchwayError } from "#error";
import { WIRED, isLive } from "#wiring";
import { readEnrol, type EnrolFlags } from "./enrol-flags.ts";
import { wordOption } from "./enrol-word.ts";
import { bootFiles, FOLDER, tokenFile, type BootFile } from "./vm-exec-files.ts";
import { oneOf, readWiring, type WiringFlags } from "./vm-args.ts";
import type { Session } from "./session.ts";

export interface ExecFlags extends WiringFlags, EnrolFlags {
  channel?: string;
}

/** Standard streams, and the one that the command waits at. */
const GATE = 3;
const FIRST_FILE = GATE + 1;
/** Says that it is the runner's, waits until the daemon knows the process, and becomes the command. */
const WAIT_AND_EXEC = `echo >&${GATE}; read -r _ <&${GATE} || exit 125; exec ${GATE}<&-; exec "$@"`;

/** Answers the command's exit code; 128 and the signal's number where a signal ended it, as a shell does. */
export async function execVm(session: Session, operands: readonly string[], flags: ExecFlags): Promise<number> {
  const [name = "", ...command] = operands;
  if (command.length === 0) {
    throw new HatchwayError("invalid", "there is no command to run", {
      hint: `name one: hatchway vm exec ${name} -- qemu-system-x86_64 -m 512 …`,
    });
  }
  const wiring = readWiring(flags);
  const enrol = readEnrol(flags);
  if ((wiring.vmm ?? "qemu") !== "qemu") {
    throw new HatchwayError("invalid", `vm exec adds arguments of QEMU's, not of ${wiring.vmm}`, {
      hint: `see what it takes with: hatchway vm args ${name} --vmm ${wiring.vmm}`,
    });
  }
  const { client } = session;
  const vm = await client.vm(name);
  const become = asRunner(vm);
  const said = flags.channel === undefined ? undefined : oneOf("--channel", WIRED, flags.channel);
  // A path stands for the file until it is known which descriptor it is.
  const file = said === undefined || isLive(said) ? {} : { file: FOLDER };
  const body = await client.vmArguments(name, { ...wiring, ...file, ...(said !== undefined && { channel: said }) });
  if (enrol && !isLive(body.channel)) {
    throw new HatchwayError("invalid", `--enrol is for secrets that come live, not by ${body.channel}`, {
      hint: "name virtio-serial or vsock: --channel virtio-serial",
    });
  }
  const files = await bootFiles(client, name, body, wiring.guest === "systemd");
  const words = wordsOf(body).map((word) => inherited(word, files));
  if (enrol) {
    words.push(...wordOption(enrol.by, `/proc/self/fd/${FIRST_FILE + files.length}`));
    files.push(await tokenFile(client, name, enrol));
  }
  return run(session, vm, { become, command: [...command, ...words] }, files);
}

function wordsOf({ forms, channel }: ArgumentsBody): readonly string[] {
  const words = forms.find((form) => form.name === "arguments")?.words;
  if (words) return words;
  throw new HatchwayError("unsupported", `QEMU cannot be told of ${channel} by its arguments alone`);
}

/** `,file=` and `,path=` are the last of an option, and so is what they name. */
function inherited(word: string, files: readonly BootFile[]): string {
  const at = word.indexOf(`=${FOLDER}`);
  if (at < 0) return word;
  const path = word.slice(at + 1);
  const index = files.findIndex((file) => file.path === path);
  if (index < 0) throw new HatchwayError("internal", `nothing is at "${path}"`);
  return `${word.slice(0, at + 1)}/proc/self/fd/${FIRST_FILE + index}`;
}

/** The command that makes another run as the VM's runner: nothing where that is who we are. */
function asRunner({ name, runner, launch }: VmBody): string[] {
  if (launch) {
    throw new HatchwayError("invalid", `vm "${name}" is Hatchway's own to start`, {
      hint: `hatchway vm start ${name}; for a command of your own make one with: hatchway vm create NAME --external`,
    });
  }
  const self = process.geteuid?.();
  if (self === runner.uid) return [];
  if (self !== 0) {
    throw new HatchwayError("forbidden", `vm "${name}" is run by uid ${runner.uid}, and you are uid ${self}`, {
      hint: "run this as that user, or as root",
    });
  }
  const groups = runner.name === undefined ? "--clear-groups" : "--init-groups";
  const ids = [`--reuid=${runner.name ?? runner.uid}`, `--regid=${runner.gid}`, groups];
  return ["setpriv", ...ids, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"];
}

async function run(
  session: Session,
  vm: VmBody,
  { become, command }: { become: string[]; command: string[] },
  files: readonly BootFile[],
): Promise<number> {
  const [program = "/bin/sh", ...words] = [...become, "/bin/sh", "-c", WAIT_AND_EXEC, "sh", ...command];
  let child: ChildProcess;
  try {
    child = spawn(program, words, {
      stdio: ["inherit", "inherit", "inherit", "pipe", ...files.map(({ fd }) => fd)],
    });
  } finally {
    for (const { fd } of files) closeSync(fd);
  }
  const ended = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const stop = passSignals(child);
  try {
    await letThrough(session, vm, child);
    const [code, signal] = await ended;
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  } finally {
    stop();
  }
}

/** Has the daemon know the process, and then lets it become the command. Where that fails it is gone. */
async function letThrough({ client }: Session, vm: VmBody, child: ChildProcess): Promise<void> {
  const gate = child.stdio[GATE] as Socket;
  const closed = once(gate, "close");
  // It went away before it was let through: its end says why.
  gate.on("error", () => gate.destroy());
  const isReady = await Promise.race([once(gate, "data").then(() => true), closed.then(() => false)]);
  if (!isReady) return;
  try {
    // One that was adopted by what it listens on is found by that.
    if (vm.adopted === undefined || "pid" in vm.adopted) await client.observeVm(vm.name, child.pid ?? 0);
    gate.end("\n");
  } catch (error) {
    gate.destroy();
    await once(child, "close");
    throw error;
  }
}

function leave(): void {
  // The command decides.
}

/** What a terminal sends, it sends to both; what was sent to us alone is meant for the command. */
function passSignals(child: ChildProcess): () => void {
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, pass);
  for (const signal of ["SIGINT", "SIGQUIT"] as const) process.on(signal, leave);
  return () => {
    for (const signal of ["SIGTERM", "SIGHUP"] as const) process.off(signal, pass);
    for (const signal of ["SIGINT", "SIGQUIT"] as const) process.off(signal, leave);
  };
}
