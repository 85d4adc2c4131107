// audit tail, verify, export.
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { Command } from "commander";
import type { TrailBody, TrailQuery } from "#api";
import { HatchwayError } from "#error";
import { examples, group, leaf, type Run } from "./command.ts";
import type { LoadOffline } from "./offline.ts";
import { placeFlags, readPlace, type PlaceFlags } from "./place-flags.ts";
import { parseCount, plural } from "./quantity.ts";
import type { Session } from "./session.ts";

/** A line of the trail, as docs/formats.md draws it. */
interface AuditEntry {
  seq: number;
  time: string;
  phase: string;
  op: string;
  opId: string;
  caller: string;
  secret?: string;
  version?: number;
  vm?: string;
  outcome?: string;
  mac: string;
}

const COLUMNS = ["seq", "time", "phase", "op", "opId", "caller", "secret", "version", "vm", "outcome", "mac"] as const;

export function addAuditCommands(run: Run, program: Command, load: LoadOffline): void {
  const audit = group(
    program,
    "audit",
    "tail, verify, export: who did what, and what left",
    "The audit trail: a line for each change, each refusal and each value that left. No value is in it.",
  );
  if (!run.words.includes("audit")) return;
  leaf(run, audit, "tail", "show the last lines", defineTail, tailAudit);
  leaf(run, audit, "verify [file]", "check every line from the first on", defineVerify, (session, [file], flags) =>
    verifyAudit(session, file, flags as PlaceFlags, load),
  );
  leaf(run, audit, "export", "write the lines that fit, as JSON lines or CSV", defineExport, exportAudit);
}

function defineTail(command: Command): Command {
  return command
    .option("-n, --lines <number>", "how many (20)")
    .option("-f, --follow", "go on as lines come")
    .addHelpText("after", examples("hatchway audit tail -n 50", "hatchway audit tail -f --json"));
}

function defineVerify(command: Command): Command {
  return placeFlags(command)
    .description(
      "Checks every line of the trail, all its files, and says the first that does not hold (exit 8). The daemon does " +
        "it if it runs; without it, and for a FILE, this process reads the trail, the keyring and the key file. Only " +
        "the daemon knows from its store whether the end of the trail was cut off.",
    )
    .addHelpText("after", examples("hatchway audit verify", "hatchway audit verify /backup/audit.jsonl"));
}

function defineExport(command: Command): Command {
  return command
    .description("Writes the lines that fit to stdout: a JSON object a line, a JSON array with --json, or CSV.")
    .option("--since <time>", "from then on: 2026-01-31, or 2026-01-31T12:00:00Z")
    .option("--until <time>", "before then")
    .option("--op <operation>", "that operation: secret.update, or several: secret.*")
    .option("--vm <name>", "about that VM")
    .option("--secret <name>", "about that secret")
    .option("--csv", "as CSV (RFC 4180), with a header")
    .addHelpText("after", examples("hatchway audit export --op secret.disclose --vm web-1 --csv"));
}

async function tailAudit(
  session: Session,
  _operands: readonly string[],
  flags: { lines?: string; follow?: true },
): Promise<undefined> {
  const lines = parseCount("--lines", flags.lines ?? "20", 0);
  const trail = session.client.auditTail({ lines, follow: flags.follow === true });
  await write(session, trail, session.json ? (line) => `${line}\n` : (line) => `${describe(parse(line))}\n`);
}

async function exportAudit(
  session: Session,
  _operands: readonly string[],
  flags: TrailQuery & { csv?: true },
): Promise<undefined> {
  if (flags.csv === true && session.json) throw new HatchwayError("invalid", "--csv and --json exclude each other");
  const { since, until, op, secret, vm } = flags;
  const query = { ...(since !== undefined && { since }), ...(until !== undefined && { until }) };
  const about = {
    ...(op !== undefined && { op }),
    ...(secret !== undefined && { secret }),
    ...(vm !== undefined && { vm }),
  };
  const trail = session.client.auditExport({ ...query, ...about });
  const { stdout } = session.terminal;
  if (flags.csv === true) {
    stdout.write(`${COLUMNS.join(",")}\r\n`);
    await write(session, trail, (line) => `${csvRow(parse(line))}\r\n`);
  } else if (session.json) {
    let before = "[\n";
    await write(session, trail, (line) => {
      const element = `${before}  ${line}`;
      before = ",\n";
      return element;
    });
    stdout.write(before === "[\n" ? "[]\n" : "\n]\n");
  } else await write(session, trail, (line) => `${line}\n`);
}

/** Line by line, no faster than stdout takes them. */
async function write(session: Session, trail: AsyncIterable<Buffer>, format: (line: string) => string): Promise<void> {
  const { stdout } = session.terminal;
  for await (const line of createInterface({ input: Readable.from(trail), crlfDelay: 0 })) {
    if (!stdout.write(format(line))) await once(stdout, "drain");
  }
}

function parse(line: string): AuditEntry {
  return JSON.parse(line) as AuditEntry;
}

function describe({ time, caller, op, phase, secret, version, vm, outcome }: AuditEntry): string {
  const what = secret === undefined ? [] : [version === undefined ? secret : `${secret} v${version}`];
  const where = vm === undefined ? [] : [`vm ${vm}`];
  return [time, caller, op, ...what, ...where, outcome ?? phase].join("  ");
}

/** RFC 4180; a cell that a spreadsheet would take for a formula is told that it is text. */
function csvRow(entry: AuditEntry): string {
  return COLUMNS.map((column) => {
    const text = String(entry[column] ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }).join(",");
}

async function verifyAudit(
  session: Session,
  file: string | undefined,
  flags: PlaceFlags,
  load: LoadOffline,
): Promise<undefined> {
  const offline = async (): Promise<TrailBody> =>
    (await load()).verifyAudit(readPlace(flags), file === undefined ? undefined : resolve(file));
  const isOffline = file !== undefined || flags.state !== undefined;
  const [summary, by] = isOffline ? [await offline(), "files"] : await verifySomehow(session, offline);
  session.report({ ...summary, by }, () => describeSummary(summary));
  if (by === "files" && !session.json)
    session.hint("whether lines at the end were cut off, only a running daemon knows");
}

async function verifySomehow(session: Session, offline: () => Promise<TrailBody>): Promise<[TrailBody, string]> {
  try {
    return [await session.client.auditVerify(), "daemon"];
  } catch (error) {
    if (!(error instanceof HatchwayError && error.code === "unavailable")) throw error;
    return [await offline(), "files"];
  }
}

function describeSummary({ files, lines, first, last }: TrailBody): string {
  const range = first && last ? `, from line ${first.seq} of ${first.time} to line ${last.seq} of ${last.time}` : "";
  const cut =
    first && first.seq > 1 ? `\nlines before ${first.seq} are not here, so nothing vouches for line ${first.seq}` : "";
  return `the audit trail holds: ${plural(lines, "line")} in ${plural(files, "file")}${range}${cut}`;
}
