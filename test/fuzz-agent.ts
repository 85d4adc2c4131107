// Drives the programs that scripts/fuzz-agent builds: each input goes to one of them and to Node.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { fuzzTargets, verdictOf } from "#agent/fuzz";
import { nodeSys } from "#agent/platform/node";
import { agentInputs, sharedCase, type AgentInputs } from "#test/kit/agent-inputs";
import { mutated } from "#test/kit/mutate";
import { readBundle } from "#test/kit/bundle";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    programs: { type: "string", default: "" },
    seconds: { type: "string", default: "5" },
    first: { type: "string", default: "0" },
  },
});
const seconds = Number(values.seconds);
const first = Number(values.first);
const scratch = mkdtempSync("/dev/shm/hw-fuzzed-");
const inputs = await agentInputs();
const known = [...Object.keys(inputs), "sync"];
const unknown = positionals.find((name) => !known.includes(name));
if (unknown !== undefined) throw new Error(`"${unknown}" is no target: ${known.join(", ")}`);

const inNode = fuzzTargets(nodeSys([], { state: new Int32Array(2), wake: -1 }), join(scratch, "node"));

/** A program that checks itself, and answers each input by a byte. */
class Checked {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #said = "";
  #answer: ((byte: string) => void) | undefined;

  constructor(target: string) {
    const argv = [target, join(scratch, "checked")];
    this.#child = spawn(join(values.programs, "fuzz-main"), argv, { stdio: ["pipe", "pipe", "pipe"] });
    this.#ended = once(this.#child, "close");
    this.#child.stderr?.on("data", (text: Buffer) => (this.#said += text.toString()));
    this.#child.stdout?.on("data", (bytes: Buffer) => this.#answer?.(bytes.toString("latin1")));
    this.#child.stdin?.on("error", () => this.#child.stdin?.destroy());
  }

  async verdict(input: Uint8Array): Promise<string> {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(input.length);
    const answer = new Promise<string>((resolve) => (this.#answer = resolve));
    this.#child.stdin?.write(Buffer.concat([head, input]));
    const byte = await Promise.race([answer, this.#ended.then(() => "")]);
    if (byte === "t") return "taken";
    if (byte === "r") return "refused";
    return `broken: ${this.#said}`;
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    await this.#ended;
  }
}

/** What lies there before an input does: the folders, and the share's files. */
function prepare(folder: string): void {
  const bundle = readBundle([sharedCase?.bytes ?? Buffer.alloc(0)]);
  const files = ["qemu_fw_cfg/by_name/opt/io.systemd.credentials/hatchway.bundle/raw", "dmi/entries/11-0/raw"];
  for (const path of [...files, "share/.hatchway/manifest.json"])
    mkdirSync(join(folder, dirname(path)), { recursive: true });
  for (const { path, content } of bundle.values) {
    mkdirSync(join(folder, "share", dirname(path)), { recursive: true });
    writeFileSync(join(folder, "share", path), content, { mode: 0o600 });
  }
}

/** How many inputs there were in the time. Throws at the first that is read in two ways, or breaks something. */
async function fuzz(
  target: string,
  { seeds, words }: AgentInputs,
  verdictsOf: (input: Buffer) => Promise<readonly string[]>,
): Promise<number> {
  const until = Date.now() + seconds * 1_000;
  let at = first;
  for (; Date.now() < until; at++) {
    const input = mutated(at, seeds, words);
    const verdicts = await verdictsOf(input);
    if (new Set(verdicts).size === 1 && !verdicts[0]?.startsWith("broken")) continue;
    const file = join(tmpdir(), `hatchway-fuzz-${target}-${at}`);
    writeFileSync(file, input, { mode: 0o600 });
    throw new Error(`${target}: input ${at}, kept in "${file}", is ${verdicts.join("; in Node ")}`);
  }
  return at - first;
}

/** The whole agent over a file, into a folder of its own: a new process each time. */
async function wholeAgent(input: Buffer): Promise<readonly string[]> {
  const file = join(scratch, "sync.tar");
  writeFileSync(file, input, { mode: 0o600 });
  const argv = ["sync", "--from", `file:${file}`, "--root", join(scratch, "root"), "--no-mount"];
  const { status, stderr } = spawnSync(join(values.programs, "main"), argv, { encoding: "utf8" });
  // 70: the agent broke; 1 is a sanitizer's too, so its words count.
  const isBroken = status === null || status === 70 || /Sanitizer|runtime error/.test(stderr);
  return [isBroken ? `broken: ${stderr}` : "ended in order"];
}

try {
  for (const folder of ["node", "checked"]) prepare(join(scratch, folder));
  mkdirSync(join(scratch, "root"));
  for (const target of positionals.length > 0 ? positionals : known) {
    const read = inNode[target];
    let count: number;
    if (read) {
      const checked = new Checked(target);
      count = await fuzz(target, inputs[target] ?? { seeds: [], words: [] }, async (input) => [
        await checked.verdict(input),
        verdictOf(read, input),
      ]);
      await checked.end();
    } else count = await fuzz(target, inputs["file"] ?? { seeds: [], words: [] }, wholeAgent);
    console.log(`fuzz: ${target}: ${count} inputs, nothing found`);
  }
} finally {
  rmSync(scratch, { recursive: true });
}
