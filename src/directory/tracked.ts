import { join } from "node:path";
import { HatchwayError } from "#error";
import type { Maker } from "./attributes.ts";
import { signatureAt } from "./entry.ts";
import { readMark } from "./place.ts";

/** What both ways between folder and vault know of the files. */
export class Tracked {
  readonly folder: string;
  readonly maker: Maker;
  /** By name: the signature of the file when its secret was last as it says. */
  readonly known: Map<string, string> = new Map();
  /** Names whose files are being changed by us: nobody looks at them meanwhile. */
  readonly changing: Set<string> = new Set();
  /** By name: the signature of the file whose change is on its way to the vault. */
  readonly importing: Map<string, string> = new Map();
  /** Called with a name whose file is another than the one that was looked at. */
  suspect: (name: string) => void = () => undefined;
  /** The mark of the folder; set when it is opened. */
  id: string = "";

  constructor(folder: string, maker: Maker) {
    this.folder = folder;
    this.maker = maker;
  }

  pathOf(name: string): string {
    return join(this.folder, name);
  }

  signature(name: string): Promise<string> {
    return signatureAt(this.pathOf(name));
  }

  /** Throws "unavailable" unless the folder is there and is the store's: it may have been unmounted. */
  async checkFolder(): Promise<void> {
    if ((await readMark(this.folder)) === this.id) return;
    throw new HatchwayError("unavailable", `the folder "${this.folder}" is not there, or is another than it was`);
  }
}
