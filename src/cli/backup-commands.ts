// backup, restore.
import { once } from "node:events";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { BackupContents, BackupReaders } from "#backup";
import { HatchwayError } from "#error";
import { mustBeFree, writeWhole } from "./backup-file.ts";
import { collect, examples, leaf, type Run } from "./command.ts";
import type { LoadOffline, Offline, Opener } from "./offline.ts";
import { placeFlags, readPlace, type PlaceFlags } from "./place-flags.ts";
import { withProgress } from "./progress.ts";
import { promptOnce, promptSame } from "./prompt.ts";
import { formatBytes, plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatTable } from "./table.ts";
import { readFile, readStream } from "./value.ts";

interface PassphraseFlags {
  passphrase?: true;
  passphraseFile?: string;
}

interface BackupFlags extends PassphraseFlags {
  recipient?: string[];
  only?: string[];
  dryRun?: true;
}

interface RestoreFlags extends PassphraseFlags, PlaceFlags {
  identity?: string;
  only?: string[];
  dryRun?: true;
}

export function addBackupCommands(run: Run, program: Command, load: LoadOffline): void {
  leaf(run, program, "backup [file]", "seal all secrets and VMs into a file", defineBackup, backup);
  leaf(
    run,
    program,
    "restore <file>",
    "make an empty store of a backup, or take secrets out of it",
    defineRestore,
    (session, [file], flags) => restore(session, file ?? "", flags as RestoreFlags, load),
  );
}

function defineBackup(command: Command): Command {
  return command
    .option("--recipient <age1…>", "who can open it; may be repeated", collect)
    .option("--passphrase", "asks for a passphrase that opens it instead")
    .option("--passphrase-file <file>", "the same, read from there; - is stdin")
    .option("--only <name...>", "these secrets and no VMs")
    .option("--dry-run", "show what it would hold, and open nothing")
    .description(
      "Writes every secret with all versions that are kept, and every VM with what is attached to it, as of one moment " +
        "while the daemon goes on serving. FILE is an age file around a tar: 0600, never over another file, and there " +
        "only when it is whole. As FILE, - is stdout. Each value that leaves has its line in the audit trail.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway backup today.age --recipient age1…",
        "hatchway backup - --recipient age1… | ssh vault 'cat >today.age'",
        "hatchway backup two.age --passphrase --only db-password tls.key",
      ),
    );
}

async function backup(session: Session, [file]: readonly string[], flags: BackupFlags): Promise<undefined> {
  if (flags.dryRun === true) {
    const contents = await session.client.backupContents(flags.only);
    session.report(contents, () => describe("the backup would have", contents));
    return;
  }
  if (file === undefined) {
    throw new HatchwayError("invalid", "there is no file to write the backup to", {
      hint: "name one, before --only; - is stdout",
    });
  }
  const toStdout = file === "-";
  if (toStdout && session.terminal.stdout.isTTY === true) {
    throw new HatchwayError("invalid", "a backup is bytes: it goes to a file or a pipe");
  }
  if (!toStdout) mustBeFree(resolve(file));
  const readers = await readReaders(session, flags);
  let [size, done] = [0, 0];
  const pieces = counted(
    session.client.backup(readers, flags.only, (told) => (size = told)),
    (length) => (done += length),
  );
  const work = toStdout ? writeOut(session, pieces) : writeWhole(resolve(file), pieces);
  try {
    await withProgress(session, () => `backing up: ${share(done, size)}`, work);
  } finally {
    if ("passphrase" in readers) readers.passphrase.fill(0);
  }
  if (toStdout) return;
  const who = "recipients" in readers ? readers.recipients.join(", ") : "a passphrase";
  session.report({ file: resolve(file), bytes: done }, () => `wrote ${file} (${formatBytes(done)}), sealed to ${who}`);
}

async function readReaders(session: Session, flags: BackupFlags): Promise<BackupReaders> {
  const byPassphrase = flags.passphrase === true || flags.passphraseFile !== undefined;
  if (byPassphrase === (flags.recipient !== undefined)) {
    throw new HatchwayError("invalid", "a backup is sealed either to --recipient or by --passphrase", {
      hint: "make an identity with: age-keygen -o identity.txt; its recipient begins with age1",
    });
  }
  if (flags.recipient) return { recipients: flags.recipient };
  return { passphrase: await readPassphrase(session, flags, (label) => promptSame(session.terminal, `new ${label}`)) };
}

async function readPassphrase(
  session: Session,
  { passphraseFile: file }: PassphraseFlags,
  prompt: (label: string) => Promise<Buffer>,
): Promise<Buffer> {
  if (file === undefined && session.terminal.stdin.isTTY !== true) {
    throw new HatchwayError("invalid", "there is no terminal to ask for the passphrase", {
      hint: "read it from a file or a pipe: --passphrase-file PATH, or -",
    });
  }
  const bytes =
    file === undefined
      ? await prompt("passphrase (hidden): ")
      : file === "-"
        ? await readStream(session.terminal.stdin)
        : readFile(file);
  // A newline at the end is the editor's.
  const passphrase = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
  if (passphrase.length > 0) return passphrase;
  throw new HatchwayError("invalid", "the passphrase is empty");
}

async function* counted(pieces: AsyncIterable<Buffer>, count: (length: number) => void): AsyncGenerator<Buffer> {
  for await (const piece of pieces) {
    yield piece;
    count(piece.length);
  }
}

async function writeOut({ terminal: { stdout } }: Session, pieces: AsyncIterable<Buffer>): Promise<void> {
  for await (const piece of pieces) if (!stdout.write(piece)) await once(stdout, "drain");
}

function share(done: number, size: number): string {
  return size > 0 ? `${Math.floor((100 * done) / size)} % of ${formatBytes(size)}` : formatBytes(done);
}

function defineRestore(command: Command): Command {
  return placeFlags(
    command
      .option("--identity <file>", "the age identity that opens it")
      .option("--passphrase", "asks for the passphrase that opens it")
      .option("--passphrase-file <file>", "the same, read from there; - is stdin")
      .option("--only <name...>", "take these secrets into the store of the daemon that runs")
      .option("--dry-run", "check all of it, show what it has, and change nothing"),
  )
    .description(
      "Makes a store of a backup where there is none, or an empty one, and no daemon runs: secrets with their versions " +
        "and times, VMs with their grants. It is checked as a whole first. With --only, secrets of it go into the store " +
        "of the daemon that runs: all of them, or none if one of the names is taken.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway restore today.age --identity identity.txt --dry-run",
        "hatchway restore today.age --identity identity.txt",
        "hatchway restore today.age --passphrase --only db-password",
      ),
    );
}

async function restore(session: Session, file: string, flags: RestoreFlags, load: LoadOffline): Promise<undefined> {
  const { only } = flags;
  if (only && (flags.session ?? flags.system ?? flags.state) !== undefined) {
    throw new HatchwayError("invalid", "--only restores into the daemon that runs, which -c names", {
      hint: "leave out --session, --system and --state",
    });
  }
  const place = readPlace(flags);
  const opener = await readOpener(session, flags);
  try {
    const offline = await load();
    const path = resolve(file);
    if (flags.dryRun === true) await check(session, offline, path, opener, only);
    else if (only) await restoreInto(session, offline, path, opener, only);
    else {
      const { terminal } = session;
      const ask = terminal.stdin.isTTY === true ? (label: string) => promptOnce(terminal, label) : undefined;
      const work = offline.restoreBackup(place, path, opener, ask);
      const contents = await withProgress(session, () => "restoring", work);
      session.report(contents, () => describe(`made the store ${contents.store_file} with`, contents));
      if (!session.json) session.hint("start the daemon with: hatchway serve; VMs are known, and none runs");
    }
  } finally {
    if ("passphrase" in opener) opener.passphrase.fill(0);
  }
}

async function readOpener(session: Session, flags: RestoreFlags): Promise<Opener> {
  const byPassphrase = flags.passphrase === true || flags.passphraseFile !== undefined;
  if (byPassphrase === (flags.identity !== undefined)) {
    throw new HatchwayError("invalid", "a backup is opened either by --identity or by --passphrase");
  }
  if (flags.identity !== undefined) return { identity: resolve(flags.identity) };
  return { passphrase: await readPassphrase(session, flags, (label) => promptOnce(session.terminal, label)) };
}

async function check(
  session: Session,
  offline: Offline,
  path: string,
  opener: Opener,
  only: readonly string[] | undefined,
): Promise<void> {
  const contents = await withProgress(session, () => "checking the backup", offline.readBackupContents(path, opener));
  const missing = only?.filter((name) => !contents.secrets.some((secret) => secret.name === name)) ?? [];
  if (missing.length > 0) throw new HatchwayError("not-found", `the backup has no secret "${missing.join('", "')}"`);
  session.report(contents, () => describe("the backup is whole: it has", contents));
}

async function restoreInto(
  session: Session,
  offline: Offline,
  path: string,
  opener: Opener,
  only: readonly string[],
): Promise<void> {
  const work = session.client.restore(offline.backupOf(path, opener, only));
  const done = await withProgress(session, () => "restoring", work);
  session.report(done, () => `restored ${plural(done.restored.length, "secret")}: ${done.restored.join(", ")}`);
}

function describe(what: string, { secrets, vms, bytes, store }: BackupContents): string {
  const versions = secrets.reduce((sum, secret) => sum + secret.versions, 0);
  const title = `${what} ${plural(secrets.length, "secret")} (${plural(versions, "version")}, ${formatBytes(bytes)}) and ${plural(vms.length, "VM")}, as of revision ${store.revision}`;
  if (secrets.length === 0) return title;
  const rows = secrets.map(({ name, versions: count, bytes: size }) => [name, String(count), String(size)]);
  const table = formatTable([{ title: "SECRET" }, { title: "VERSIONS" }, { title: "BYTES" }], rows);
  return [title, "", table, ...(vms.length > 0 ? ["", `VMs: ${vms.join(", ")}`] : [])].join("\n");
}
