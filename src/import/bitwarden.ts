// An unencrypted JSON export of Bitwarden or Vaultwarden. Of an item become secrets: a login's password, a note's text,
// an SSH key's private half, and each hidden field as NAME.FIELD. Names, user names and folders are read as text;
// values are not.
import { descriptionProblem, labelValueProblem } from "#about";
import type { AboutBody } from "#api";
import { HatchwayError } from "#error";
import { unreadable, type Found, type Imported } from "./imported.ts";
import { bytesOf, elements, member, parseJsonBytes, textOf, type Json } from "./json-bytes.ts";

const HIDDEN_FIELD = "1";

export function readBitwarden(file: Buffer): Found {
  const json = parseJsonBytes(file);
  const encrypted = member(json, "encrypted");
  if (encrypted?.kind === "scalar" && encrypted.text === "true") {
    throw new HatchwayError("unsupported", "the export is encrypted", {
      hint: "export it as .json, not as .json (encrypted), into a folder in memory such as /dev/shm",
    });
  }
  if (member(json, "items")?.kind !== "array") throw unreadable("export", "it has no array of items");
  const folders = new Map(elements(member(json, "folders")).map((one) => [textAt(one, "id"), textAt(one, "name")]));
  const items = elements(member(json, "items"));
  const names = Map.groupBy(items, nameOf);
  const found: Found = { secrets: [], skipped: [] };
  for (const item of items) {
    const base = nameOf(item);
    // Several items of one name are told apart by what stays the same in each export.
    const name = (names.get(base)?.length ?? 0) > 1 ? `${base}-${textAt(item, "id").slice(0, 8)}` : base;
    const secrets = secretsOf(item, name, aboutOf(item, name, folders));
    found.secrets.push(...secrets);
    if (secrets.length === 0)
      found.skipped.push({ what: textAt(item, "name"), why: "it holds no password, key or note" });
  }
  return found;
}

function secretsOf(item: Json, name: string, metadata: AboutBody): Imported[] {
  const login = member(item, "login");
  const main =
    filled(member(login, "password")) ??
    filled(member(member(item, "sshKey"), "privateKey")) ??
    (login === undefined || login.kind !== "object" ? filled(member(item, "notes")) : undefined);
  const secrets: Imported[] = main ? [{ name, value: main, metadata }] : [];
  for (const field of elements(member(item, "fields"))) {
    const type = member(field, "type");
    if (type?.kind !== "scalar" || type.text !== HIDDEN_FIELD) continue;
    const value = filled(member(field, "value"));
    if (value) secrets.push({ name: `${name}.${slug(textAt(field, "name"))}`, value, metadata });
  }
  return secrets;
}

function filled(json: Json | undefined): Buffer | undefined {
  const bytes = bytesOf(json);
  return bytes === undefined || bytes.length === 0 ? undefined : bytes;
}

function nameOf(item: Json): string {
  return slug(textAt(item, "name"));
}

/** A name of our grammar that looks like it. */
function slug(text: string): string {
  const kept = text
    .replaceAll(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[.-]+/, "")
    .replace(/-+$/, "");
  return kept === "" ? "unnamed" : kept.slice(0, 80);
}

/** What people know the item by, as far as our labels can say it. */
function aboutOf(item: Json, name: string, folders: ReadonlyMap<string, string>): AboutBody {
  const title = textAt(item, "name");
  const said = {
    username: textAt(member(item, "login"), "username"),
    folder: folders.get(textAt(item, "folderId")) ?? "",
  };
  const labels = Object.entries(said).filter(([, value]) => value !== "" && labelValueProblem(value) === undefined);
  const described = title !== name && descriptionProblem(title) === undefined;
  return {
    ...(described && { description: title }),
    ...(labels.length > 0 && { labels: Object.fromEntries(labels) }),
  };
}

function textAt(json: Json | undefined, key: string): string {
  return textOf(member(json, key)) ?? "";
}
