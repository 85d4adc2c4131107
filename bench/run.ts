// Measures Hatchway against what the machine can do at all, and against other programs that keep secrets:
//
//   node bench/run.ts [PART…] [--rounds N] [--size FACTOR]     all parts without a name; bench/results/run.json
//
// Ratios of one run count: absolute figures are those of a machine that does other things as well.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compete, type Missing, type Part, type Result } from "./measure.ts";
import { agent } from "./parts/agent.ts";
import { command } from "./parts/command.ts";
import { create } from "./parts/create.ts";
import { guest } from "./parts/guest.ts";
import { list } from "./parts/list.ts";
import { neighbour } from "./parts/neighbour.ts";
import { read } from "./parts/read.ts";
import { start } from "./parts/start.ts";
import { stall } from "./parts/stall.ts";
import { showResults } from "./table.ts";

const PARTS: readonly Part[] = [create, guest, read, list, start, stall, neighbour, agent, command];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "5" }, size: { type: "string", default: "1" } },
});
const unknown = positionals.find((name) => !PARTS.some((part) => part.name === name));
if (unknown !== undefined) {
  throw new Error(`there is no part "${unknown}"; there are: ${PARTS.map(({ name }) => name).join(", ")}`);
}

const chosen = PARTS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const parts: { name: string; about: string; results: (Result | Missing)[] }[] = [];
for (const part of chosen) {
  const { name, about } = part;
  console.log(`${name}: ${about}`);
  await using contest = await part.open({ size: Number(values.size) });
  const results = await compete(contest.contestants, Number(values.rounds), say);
  say("");
  parts.push({ name, about, results });
  console.log(showResults(results));
}

const out = join(import.meta.dirname, "results");
mkdirSync(out, { recursive: true });
const machine = { node: process.version, linux: release(), cpus: cpus().length, cpu: cpus()[0]?.model ?? "" };
const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" }).trim();
const said = {
  at: new Date().toISOString(),
  commit,
  machine,
  rounds: Number(values.rounds),
  size: Number(values.size),
  parts,
};
const file = join(
  out,
  chosen.length === PARTS.length ? "run.json" : `${chosen.map(({ name }) => name).join("-")}.json`,
);
writeFileSync(file, `${JSON.stringify(said, undefined, 2)}\n`);
console.log(`written to ${file}`);

/** The line that shows what is being done, where somebody looks. */
function say(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${what}`);
}
