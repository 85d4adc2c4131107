// User and group names, by /etc/passwd and /etc/group alone: the agent runs before directory services do.
import { HERE, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { readFile } from "./tree.ts";

const MOST = 4_194_304;

/** The users and groups of this machine at one moment. */
export class Owners {
  readonly #sys: Sys;
  readonly #tables: Map<string, Map<string, number>> = new Map();

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Undefined for a name that is not known. */
  uid(user: number | string): number | undefined {
    return typeof user === "number" ? user : this.#table("/etc/passwd").get(user);
  }

  gid(group: number | string): number | undefined {
    return typeof group === "number" ? group : this.#table("/etc/group").get(group);
  }

  #table(path: string): Map<string, number> {
    let table = this.#tables.get(path);
    if (!table) {
      table = parseAccounts(decodeUtf8(readFile(this.#sys, HERE, path, MOST)));
      this.#tables.set(path, table);
    }
    return table;
  }
}

/** passwd(5) and group(5): the name is the first field, the number the third. The first line of a name counts. */
export function parseAccounts(text: string): Map<string, number> {
  const table = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [name, , id] = line.split(":");
    if (name === undefined || id === undefined || !/^[0-9]{1,10}$/.test(id)) continue;
    if (!table.has(name)) table.set(name, Number(id));
  }
  return table;
}
