// store migrate.
import { resolve } from "node:path";
import type { Command } from "commander";
import { HatchwayError } from "#error";
import { examples, group, leaf, type Run } from "./command.ts";
import type { LoadOffline, MigrationBody, StoreSpec } from "./offline.ts";
import { placeFlags, readPlace, type PlaceFlags } from "./place-flags.ts";
import { withProgress } from "./progress.ts";
import { promptOnce } from "./prompt.ts";
import { plural } from "./quantity.ts";
import type { Session } from "./session.ts";

export function addStoreCommands(run: Run, program: Command, load: LoadOffline): void {
  const store = group(
    program,
    "store",
    "migrate: from the sealed store to a folder of plain files, and back",
    "Where secrets are kept: sealed (sqlite), or as plain files with the rest sealed beside them (directory).",
  );
  if (!run.words.includes("store")) return;
  leaf(
    run,
    store,
    "migrate <from> <to>",
    "move all secrets to another kind of store",
    defineMigrate,
    (session, words, flags) => migrate(session, words, flags as MigrateFlags, load),
  );
}

interface MigrateFlags extends PlaceFlags {
  removeFiles?: true;
}

function defineMigrate(command: Command): Command {
  const removing = "directory to sqlite: overwrite and remove the plain files, once they are checked";
  return placeFlags(command.option("--remove-files", removing))
    .description(
      "Moves all secrets between sqlite and directory[:/folder]; VMs, grants and versions stay. The daemon must be " +
        "stopped. Killed at any moment it can be run again; it is done when every file was read back and compared. " +
        "Each value that becomes a plain file leaves a line in the audit trail.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway store migrate sqlite directory",
        "hatchway store migrate sqlite directory:/srv/app/.secrets",
        "hatchway store migrate directory sqlite --remove-files",
      ),
    );
}

async function migrate(
  session: Session,
  [from = "", to = ""]: readonly string[],
  flags: MigrateFlags,
  load: LoadOffline,
): Promise<undefined> {
  const [source, target] = [readSpec(from), readSpec(to)];
  if (source.kind === target.kind) {
    throw new HatchwayError(
      "invalid",
      `"${from}" and "${to}" are of one kind: it goes from sqlite to directory, or back`,
    );
  }
  if (flags.removeFiles === true && target.kind === "directory") {
    throw new HatchwayError("invalid", "--remove-files is for the way from directory to sqlite");
  }
  const { terminal } = session;
  const offline = await load();
  const done = await withProgress(
    session,
    () => `migrating from ${source.kind} to ${target.kind}`,
    offline.migrateStore(readPlace(flags), source, target, {
      removeFiles: flags.removeFiles === true,
      ...(terminal.stdin.isTTY === true && { askPassphrase: (label: string) => promptOnce(terminal, label) }),
    }),
  );
  session.report(done, () => describe(done, target));
  if (session.json) return;
  for (const { name, why } of done.left) session.warn(`"${name}" ${why}: it is left as it is`);
  if (done.config !== undefined) session.hint(done.config);
  if (target.kind === "directory" || flags.removeFiles === true) return;
  session.hint(`the plain files are still in ${done.folder}: remove them by running this again with --remove-files`);
}

function describe({ secrets, folder, files }: MigrationBody, target: StoreSpec): string {
  const checked = `${plural(secrets, "secret")}, each read back and compared`;
  if (target.kind === "directory") return `in ${folder}: ${checked} (${plural(files, "file")} written)`;
  const removed =
    files === 0 ? "" : `; ${plural(files, "file")} overwritten and removed, of which a disk may keep copies`;
  return `in the sealed store: ${checked}${removed}`;
}

/** `sqlite`, `directory` or `directory:FOLDER`. */
function readSpec(text: string): StoreSpec {
  if (text === "sqlite") return { kind: "sqlite" };
  if (text === "directory") return { kind: "directory" };
  const folder = /^directory:(.+)$/.exec(text)?.[1];
  if (folder !== undefined) return { kind: "directory", folder: resolve(folder) };
  throw new HatchwayError("invalid", `"${text}" is not a store: sqlite, directory or directory:/folder`);
}
