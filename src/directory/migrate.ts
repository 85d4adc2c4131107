// Secrets from the sealed store into a folder of plain files, and back. Each direction can be killed at any moment and run
// again, and says that it is done only after every file was read back and compared. What is the truth changes in one
// commit, the binding's: before it the side that they come from is complete, after it the other.
import { readdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { syncFolder } from "#host/files";
import { secretNameProblem } from "#protocol/names";
import type { Secret } from "#secret";
import type { Vault } from "#vault";
import { attributesOf, changeOf } from "./attributes.ts";
import { readEntry } from "./entry.ts";
import { openFolder } from "./place.ts";
import { discard, erase, leftovers, place, setAside, stage } from "./staging.ts";
import { bindFolder, unbindFolder, type DirectoryStore } from "./store.ts";
import type { Tracked } from "./tracked.ts";

export interface Migration {
  folder: string;
  secrets: number;
  /** Files that were written, or overwritten and removed. */
  files: number;
  /** Files that stay and are no secret of the store, or not as it is. */
  left: { name: string; why: string }[];
}

/** Milliseconds between two looks at a file that is not whole yet, and how often. */
const AGAIN = 250;
const TRIES = 12;
/** Looks that a file may be missing for. */
const MISSING = 4;

/** Throws "exists" where files that are not of an earlier, unfinished run have names of secrets and other values. */
export async function toDirectory(vault: Vault, caller: Caller, store: DirectoryStore): Promise<Migration> {
  const { folder, tracked } = store;
  const secrets = await vault.secrets(caller);
  const before = await vault.plain.binding();
  const isResumed = before?.folder === folder;
  await openFolder(folder);
  if (!isResumed) await refuseForeign(vault, caller, tracked, secrets);
  if (before?.state !== "bound" || !isResumed) await bindFolder(vault, caller, folder);
  for (const { path } of await leftovers(folder)) await discard(path);
  let files = 0;
  for (const secret of secrets) {
    if ((await difference(vault, caller, tracked, secret)) === undefined) continue;
    if (before?.state === "bound") throw broken(folder, secret.name);
    const value = await vault.plain.export(caller, secret.name);
    try {
      const attributes = attributesOf(secret.delivery, tracked.maker);
      await place(await stage(folder, secret.name, value, attributes), folder, secret.name);
    } finally {
      value.fill(0);
    }
    files += 1;
  }
  await syncFolder(folder);
  await verify(vault, caller, tracked, secrets);
  const filled = await vault.plain.binding();
  if (filled?.state === "filling") await vault.plain.bind(caller, { ...filled, state: "bound" });
  return { folder, secrets: secrets.length, files, left: await others(tracked, secrets) };
}

/** `vault` was opened with the store's mirror: what the files say is taken first. */
export async function fromDirectory(
  vault: Vault,
  caller: Caller,
  store: DirectoryStore,
  removeFiles: boolean,
): Promise<Migration> {
  const { folder, tracked } = store;
  if ((await vault.plain.binding())?.state === "bound") {
    await takeAll(vault, store);
    await verify(vault, caller, tracked, await vault.secrets(caller));
  }
  await unbindFolder(vault, caller, folder);
  const secrets = await vault.secrets(caller);
  const done: Migration = { folder, secrets: secrets.length, files: 0, left: [] };
  if (!removeFiles) return done;
  for (const { path } of await leftovers(folder)) await erase(path);
  for (const secret of secrets) {
    const why = await difference(vault, caller, tracked, secret);
    if (why === undefined) {
      // Out of its place first: a process that is killed now leaves no file that says something else than its secret.
      await erase(await setAside(folder, secret.name));
      done.files += 1;
    } else if (why !== "is missing") done.left.push({ name: secret.name, why });
  }
  await syncFolder(folder);
  done.left.push(...(await others(tracked, secrets)));
  return done;
}

/** Brings the vault to what all files say. Throws "unavailable" while one of them is being written. */
async function takeAll(vault: Vault, store: DirectoryStore): Promise<void> {
  const { side, intake } = await store.join(vault);
  const names = new Set([...(await readdir(store.folder)), ...(await side.names())]);
  let due = [...names].filter((name) => !name.startsWith("."));
  for (let round = 1; due.length > 0; round++) {
    const rest: string[] = [];
    for (const name of due) {
      let looked = await intake.look(name);
      if (looked === "missing" && round > MISSING) looked = await intake.remove(name);
      if (looked !== "settled") rest.push(name);
    }
    if (rest.length > 0 && round === TRIES) {
      const why = store.problems.list().find(({ name }) => name === rest[0])?.problem ?? "is being written";
      throw new HatchwayError("unavailable", `the file "${rest[0]}" ${why}`, {
        hint: "let what writes it end, and run this again",
      });
    }
    due = rest;
    if (due.length > 0) await sleep(AGAIN);
  }
}

async function verify(vault: Vault, caller: Caller, tracked: Tracked, secrets: readonly Secret[]): Promise<void> {
  for (const secret of secrets) {
    const why = await difference(vault, caller, tracked, secret);
    if (why === undefined) continue;
    throw new HatchwayError("corrupt", `the file of secret "${secret.name}" ${why}: nothing was switched over`, {
      hint: "mend or remove the file, and run this again",
    });
  }
}

/** How the file differs from its secret; undefined if it does not. */
async function difference(
  vault: Vault,
  caller: Caller,
  tracked: Tracked,
  { name, delivery }: Secret,
): Promise<string | undefined> {
  const entry = await readEntry(tracked.pathOf(name));
  if (entry.kind === "missing") return "is missing";
  if (entry.kind === "written") return "is being written";
  if (entry.kind === "refused") return entry.why;
  try {
    if (!(await vault.plain.holds(caller, name, entry.value))) return "has another value";
    return changeOf(entry.attributes, delivery, tracked.maker) ? "has another mode or owner" : undefined;
  } finally {
    entry.value.fill(0);
  }
}

/** A file that is there already, and says something else than its secret, is somebody's: it is not overwritten. */
async function refuseForeign(
  vault: Vault,
  caller: Caller,
  tracked: Tracked,
  secrets: readonly Secret[],
): Promise<void> {
  const foreign: string[] = [];
  for (const secret of secrets) {
    const why = await difference(vault, caller, tracked, secret);
    if (why !== undefined && why !== "is missing" && why !== "has another mode or owner") foreign.push(secret.name);
  }
  if (foreign.length === 0) return;
  const some = foreign.slice(0, 5).join(", ");
  throw new HatchwayError(
    "exists",
    `"${tracked.folder}" has files that are not as the secrets of their names: ${some}`,
    {
      hint: "move them away, or choose an empty folder",
    },
  );
}

/** Files that have no secret in the store. */
async function others(tracked: Tracked, secrets: readonly Secret[]): Promise<Migration["left"]> {
  const names = new Set(secrets.map(({ name }) => name));
  const files = (await readdir(tracked.folder)).filter((name) => !name.startsWith(".") && !names.has(name));
  return files.toSorted().map((name) => ({
    name,
    why: secretNameProblem(name) === undefined ? "is no secret of the store yet" : "is not named as a secret",
  }));
}

function broken(folder: string, name: string): HatchwayError {
  return new HatchwayError("exists", `the secrets are in "${folder}" already, and the file of "${name}" is newer`, {
    hint: "start the daemon with store: directory, which takes it",
  });
}
