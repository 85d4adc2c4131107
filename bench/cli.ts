// How long the CLI takes to start: an empty Node, `hatchway version`, and `hatchway secret list` of 100 secrets against
// a real daemon. The three take turns, so that what else the machine does meets all of them; medians and ratios count.
//
//   node bench/cli.ts [rounds]     writes a table, and bench/results/cli.json
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { connect } from "#client/client";
import { startSessionDaemon } from "#test/kit/session-daemon";

const rounds = Number(process.argv[2] ?? 31);
const root = resolve(import.meta.dirname, "..");

await using daemon = await startSessionDaemon();
const client = connect("secret:///session", daemon.env);
for (let number = 0; number < 100; number += 1) {
  await client.putSecret(`secret-${number}`, "create", Buffer.from(`value ${number}`));
}

const empty = join(daemon.folder, "empty.cjs");
writeFileSync(empty, "");
const hatchway = join(root, "bin/hatchway");
const cases = [
  { name: "empty node", argv: [process.execPath, empty] },
  { name: "hatchway version", argv: [hatchway, "version"] },
  { name: "hatchway secret list", argv: [hatchway, "secret", "list"] },
];

const times = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
for (let turn = 0; turn < rounds; turn += 1) {
  for (const { name, argv } of cases) times.get(name)?.push(timed(argv));
}

/** Milliseconds of a whole command, from its start until it was waited for. */
function timed([program = "", ...argv]: readonly string[]): number {
  const begun = process.hrtime.bigint();
  const { status } = spawnSync(program, argv, { env: daemon.env, stdio: ["ignore", "pipe", "inherit"] });
  const taken = Number(process.hrtime.bigint() - begun) / 1e6;
  if (status !== 0) throw new Error(`"${argv.join(" ")}" ended with ${status}`);
  return taken;
}

function quantile(name: string, fraction: number): number {
  const sorted = (times.get(name) ?? []).toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * fraction)] ?? Number.NaN;
}

const base = quantile("empty node", 0.5);
const results = cases.map(({ name }) => ({
  name,
  medianMs: round(quantile(name, 0.5)),
  p10Ms: round(quantile(name, 0.1)),
  p90Ms: round(quantile(name, 0.9)),
  timesEmpty: round(quantile(name, 0.5) / base),
}));

function round(number: number): number {
  return Math.round(number * 100) / 100;
}

console.table(results);
mkdirSync(join(root, "bench/results"), { recursive: true });
writeFileSync(
  join(root, "bench/results/cli.json"),
  `${JSON.stringify({ node: process.version, rounds, results }, null, 2)}\n`,
);
