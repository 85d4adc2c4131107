// units: systemd's units for the system daemon, as they are shipped, with the paths of this installation in them.
import { chmod, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { HatchwayError } from "#error";
import { errnoText, isErrno, writeDurably } from "#host/files";
import { packageRoot } from "#host/package-root";
import type { Session } from "./session.ts";
import { formatTable } from "./table.ts";
import { DAEMON_UNITS, UNIT_FOLDER, UNITS } from "./units-commands.ts";

/** By its first line a unit is known to be ours to replace. */
const MARK = "# Written by: hatchway units --install. Change it by: systemctl edit";

const COLUMNS = [{ title: "UNIT" }, { title: "DONE" }];

export interface UnitsFlags {
  install?: true;
  dir?: string;
  unit?: string;
}

interface Unit {
  name: string;
  text: string;
}

export async function units(session: Session, _operands: readonly string[], flags: UnitsFlags): Promise<undefined> {
  if (flags.dir !== undefined && flags.install !== true) {
    throw new HatchwayError("invalid", "--dir is of --install, which is not given");
  }
  const wanted = flags.unit === undefined ? UNITS : UNITS.filter((name) => name === flags.unit);
  if (wanted.length === 0) {
    throw new HatchwayError("invalid", `--unit "${flags.unit}" is none of ${UNITS.join(", ")}`);
  }
  const read = await Promise.all(wanted.map(readUnit));
  if (flags.install === true) return install(session, read, resolve(flags.dir ?? UNIT_FOLDER));
  session.report({ units: read }, () =>
    read.map(({ name, text }) => (read.length === 1 ? text : `# ${name}\n${text}`).trimEnd()).join("\n\n"),
  );
}

async function readUnit(name: string): Promise<Unit> {
  const root = packageRoot();
  const text = await readFile(join(root, "host/systemd", name), "utf8");
  const architecture = process.arch === "arm64" ? "aarch64" : "x86_64";
  const agent = join(root, "dist/agent", architecture, "hatchway-agent");
  const own = text
    .replace("ExecStart=/usr/local/bin/hatchway-agent ", () => `ExecStart=${commandWord(agent)} `)
    .replace("ExecStart=/usr/local/bin/hatchway ", () => `ExecStart=${commandWord(join(root, "bin/hatchway"))} `);
  return { name, text: own };
}

/** A path as a word of ExecStart=, systemd.service(5). */
function commandWord(path: string): string {
  const literal = path.replaceAll("%", "%%");
  return /^[A-Za-z0-9._/+@%-]+$/.test(literal) ? literal : `"${literal.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

async function install(session: Session, read: readonly Unit[], folder: string): Promise<undefined> {
  const done: { unit: string; done: string }[] = [];
  for (const { name, text } of read) {
    const path = join(folder, name);
    const whole = `${MARK} ${name}\n${text}`;
    const there = await textAt(path);
    if (there !== undefined && !there.startsWith(MARK)) {
      throw new HatchwayError("exists", `"${path}" is there already, and not of hatchway units --install`, {
        hint: "move it away, and put what is yours into a drop-in: systemctl edit",
      });
    }
    if (there !== whole) await writeDurably(path, Buffer.from(whole));
    await chmod(path, 0o644);
    done.push({ unit: path, done: there === undefined ? "written" : there === whole ? "as it was" : "replaced" });
  }
  session.report({ units: done }, () =>
    formatTable(
      COLUMNS,
      done.map((one) => [one.unit, one.done]),
    ),
  );
  if (session.json) return;
  session.hint(`start them with: systemctl daemon-reload && systemctl enable --now ${DAEMON_UNITS.join(" ")}`);
}

async function textAt(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return undefined;
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
}
