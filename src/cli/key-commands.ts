// key init, status, add-way, remove-way, rotate, rewrap, retire, backup, restore; seal and unseal in key-sealing.ts.
import { setTimeout as sleep } from "node:timers/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { HatchwayError } from "#error";
import { examples, group, leaf, type Run } from "./command.ts";
import { addSealingCommands } from "./key-sealing.ts";
import type { LoadOffline } from "./offline.ts";
import { placeFlags, readPlace, type PlaceFlags } from "./place-flags.ts";
import { writeNew } from "./new-file.ts";
import { withProgress } from "./progress.ts";
import { formatAge, parseCount, plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatFields, formatTable } from "./table.ts";
import { readWay, wayFlags, type WayFlags } from "./way-flags.ts";

export function addKeyCommands(run: Run, program: Command, load: LoadOffline): void {
  const key = group(
    program,
    "key",
    "init, status, add-way, remove-way, rotate, rewrap, retire, backup, restore, seal, unseal",
    "The keys of the store: one root key, which several ways lead to, and the terms under it that seal all rows.",
  );
  if (!run.words.includes("key")) return;
  leaf(
    run,
    key,
    "init [kind]",
    "make the keys of a new store, with one way to them",
    defineInit,
    (session, [kind], flags) => initKeys(session, kind, flags as WayFlags & PlaceFlags, load),
  );
  leaf(run, key, "status", "show the ways and the terms", (command) => command, showKeys);
  leaf(run, key, "add-way <kind>", "add another way to the root key", defineAddWay, addWay);
  leaf(run, key, "rotate", "make a new term, for all that is sealed from now on", (command) => command, rotateKeys);
  leaf(run, key, "rewrap", "bring everything under the current term", defineRewrap, rewrapKeys);
  leaf(run, key, "retire <term>", "forget a term that nothing is sealed under", (command) => command, retireTerm);
  leaf(run, key, "backup", "seal all that opens the store to an age recipient", defineBackup, backupKeys);
  leaf(run, key, "restore <file>", "make the keyring again from a backup", defineRestore, (session, [file], flags) =>
    restoreKeys(session, file ?? "", flags as RestoreFlags, load),
  );
  leaf(run, key, "remove-way <name>", "take a way away; never the last", defineRemoveWay, removeWay);
  addSealingCommands(run, key);
}

const ABOUT_KINDS =
  "KIND is key-file, systemd-credential, age or passphrase. At its start the daemon tries them in that order, and one " +
  "is enough. A passphrase is asked for on a terminal, or is the credential hatchway-passphrase.";

function defineInit(command: Command): Command {
  return placeFlags(wayFlags(command))
    .description(
      `Makes the keys of a store that does not exist yet. Without it the first start of the daemon does so, with a key file. ${ABOUT_KINDS}`,
    )
    .addHelpText(
      "after",
      examples("hatchway key init passphrase", "hatchway key init key-file --path /media/usb/root.key"),
    );
}

function defineAddWay(command: Command): Command {
  return wayFlags(command)
    .description(`Adds another way to the root key. ${ABOUT_KINDS}`)
    .addHelpText(
      "after",
      examples(
        "hatchway key add-way passphrase",
        "hatchway key add-way systemd-credential --seal-to /etc/credstore.encrypted/hatchway-key --with-key tpm2",
        "hatchway key add-way age --recipient age1… --identity /etc/hatchway/identity.txt",
      ),
    );
}

function defineRemoveWay(command: Command): Command {
  return command.description(
    "Takes a way to the root key away. The root key stays what it is: who has a copy of the keyring of before still gets " +
      "in by that way.",
  );
}

async function initKeys(
  session: Session,
  kind: string | undefined,
  flags: WayFlags & PlaceFlags,
  load: LoadOffline,
): Promise<undefined> {
  using said = await readWay(session, kind ?? "key-file", flags);
  const { keyring, way } = await (await load()).initKeys(readPlace(flags), said.name, said.way, said.secret);
  session.report({ keyring, way }, () => `made the keyring ${keyring}, opened by ${way.name} (${way.needs})`);
}

async function showKeys(session: Session): Promise<undefined> {
  const keys = await session.client.keys();
  session.report(keys, () => {
    const ways = keys.ways.map(({ name, kind, needs }) => [name, kind, needs]);
    const terms = keys.terms.map(({ term, created_at: at, rows }) => [
      `${term}${term === keys.current ? " (current)" : ""}`,
      formatAge(at),
      String(rows),
    ]);
    const wayTable = formatTable([{ title: "WAY" }, { title: "KIND" }, { title: "NEEDS" }], ways);
    const lid = keys.sealed ? "sealed: open them with: hatchway key unseal" : `opened by the way "${keys.opened_by}"`;
    return `${lid}\n\n${wayTable}\n\n${formatTable([{ title: "TERM" }, { title: "CREATED" }, { title: "ROWS" }], terms)}`;
  });
}

async function addWay(session: Session, [kind = ""]: readonly string[], flags: WayFlags): Promise<undefined> {
  using said = await readWay(session, kind, flags);
  const way = await session.client.addWay(said.name, said.way, said.secret);
  session.report(way, () =>
    formatFields([
      ["added", way.name],
      ["needs", way.needs],
    ]),
  );
}

async function removeWay(session: Session, [name = ""]: readonly string[]): Promise<undefined> {
  await session.client.removeWay(name);
  session.report({ name }, () => `removed the way "${name}"`);
}

async function rotateKeys(session: Session): Promise<undefined> {
  const { term } = await session.client.rotateKeys();
  session.report({ term }, () => `new seals are made under term ${term}`);
  if (!session.json) session.hint("bring what there is under it with: hatchway key rewrap");
}

function defineRewrap(command: Command): Command {
  return command
    .option("--background", "do not wait for it")
    .description(
      "Seals everything anew that is not under the current term: the data keys of values, and the records. The daemon " +
        "goes on serving, and after it was killed its next start goes on with it.",
    );
}

/** Milliseconds between two looks. */
const LOOK = 250;

async function rewrapKeys(
  session: Session,
  _operands: readonly string[],
  flags: { background?: true },
): Promise<undefined> {
  let progress = await session.client.startRewrap();
  const wait = async (): Promise<void> => {
    while (progress.state === "running") {
      await sleep(LOOK);
      progress = await session.client.rewrap();
    }
  };
  if (flags.background !== true) {
    await withProgress(session, () => `rewrapping: ${progress.done} of ${progress.seen} rows so far`, wait());
  }
  if (progress.state === "failed") throw new HatchwayError("unavailable", `the rewrap stopped: ${progress.problem}`);
  const over = progress.state === "running" ? "rewrapping" : "everything is under the current term: rewrapped";
  session.report(progress, () => `${over} ${plural(progress.done, "row")}`);
}

async function retireTerm(session: Session, [word = ""]: readonly string[]): Promise<undefined> {
  const term = parseCount("TERM", word, 1);
  await session.client.retireTerm(term);
  session.report({ term }, () => `retired term ${term}`);
}

function defineBackup(command: Command): Command {
  return command
    .requiredOption("--recipient <age1…>", "who can open it")
    .option("--output <file>", "where to (stdout); made 0600, and never over another file")
    .description(
      "Seals the root key and all terms to an age recipient. Together with a copy of the store it is enough to get every " +
        "secret back, with the program age and without Hatchway: see docs/recovery.md. Make another after each rotate.",
    )
    .addHelpText("after", examples("hatchway key backup --recipient age1… --output keys.age"));
}

async function backupKeys(
  session: Session,
  _operands: readonly string[],
  { recipient, output }: { recipient: string; output?: string },
): Promise<undefined> {
  if (output === undefined && (session.terminal.stdout.isTTY === true || session.json)) {
    throw new HatchwayError("invalid", "a backup of the keys is bytes: it goes to a file or a pipe", {
      hint: "name the file with: --output FILE",
    });
  }
  const sealed = await session.client.backupKeys(recipient);
  if (output === undefined) {
    session.terminal.stdout.write(sealed);
    return;
  }
  writeNew(resolve(output), sealed);
  session.report({ output: resolve(output), recipient }, () => `sealed the keys to ${recipient}, in ${output}`);
}

interface RestoreFlags extends WayFlags, PlaceFlags {
  identity?: string;
}

function defineRestore(command: Command): Command {
  return placeFlags(command)
    .requiredOption("--identity <file>", "the age identity that opens it")
    .option("--path <file>", "the key file that is to open the keyring (the usual one)")
    .option("--passphrase-file <file>", "a passphrase is to open it, from there; - is stdin")
    .description(
      "Makes the keyring again from a backup, for a store that is there or will be put there, and one way to it: a key " +
        "file, made where there is none, or a passphrase. Other ways are added when the daemon serves.",
    );
}

async function restoreKeys(session: Session, file: string, flags: RestoreFlags, load: LoadOffline): Promise<undefined> {
  const kind = flags.passphraseFile === undefined ? "key-file" : "passphrase";
  using said = await readWay(session, kind, flags);
  const offline = await load();
  const identity = resolve(flags.identity ?? "");
  const { keyring, way } = await offline.restoreKeys(
    readPlace(flags),
    resolve(file),
    identity,
    said.name,
    said.way,
    said.secret,
  );
  session.report({ keyring, way }, () => `made the keyring ${keyring} again, opened by ${way.name} (${way.needs})`);
}
