// When which file is looked at: soon after inotify(7) told of it, later again while somebody writes, and all of them at
// the start and now and then, since the kernel drops what it has no room to tell.
import { watch, type FSWatcher } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { HatchwayError } from "#error";
import { errnoText } from "#host/files";
import { secretNameProblem } from "#protocol/names";
import type { Intake } from "./intake.ts";
import type { Problems } from "./problems.ts";
import { OWN } from "./staging.ts";
import type { Tracked } from "./tracked.ts";
import type { VaultSide } from "./vault-side.ts";

/** Milliseconds without an event until a file is looked at: one that is known, and one that may be an editor's for a moment. */
const SETTLED = 50;
const SETTLED_NEW = 250;
/** The same for what is no secret: an editor's files come and go. */
const SETTLED_IGNORED = 2_000;
/** Milliseconds until a file that is being written is looked at again. */
const AGAIN = 250;
/** Milliseconds for which a file may be missing: an editor may put another in its place. */
const GRACE = 1_000;
/** Milliseconds between two rounds over all files. */
const ROUND = 60_000;
/** Milliseconds between two looks at what is due. */
const TICK = 25;
/** Files that are looked at side by side. */
const TOGETHER = 16;
/** What sed -i and vim make in a folder for a moment, and give names that secrets may have. */
const PASSING = /^(?:sed[A-Za-z0-9]{6}|[0-9]{4,5})$/;

export class FolderWatch {
  readonly #tracked: Tracked;
  readonly #side: VaultSide;
  readonly #intake: Intake;
  readonly #problems: Problems;
  readonly #report: (error: unknown) => void;
  /** By name: when it is to be looked at, by performance.now(). */
  readonly #due = new Map<string, number>();
  readonly #missingSince = new Map<string, number>();
  #watcher: FSWatcher | undefined;
  #inode: bigint | undefined;
  #tick: NodeJS.Timeout | undefined;
  #round: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #isOpen = false;

  constructor(tracked: Tracked, side: VaultSide, intake: Intake, problems: Problems, report: (error: unknown) => void) {
    this.#tracked = tracked;
    this.#side = side;
    this.#intake = intake;
    this.#problems = problems;
    this.#report = report;
  }

  /** Resolves once all files were looked at. */
  async open(): Promise<void> {
    this.#tracked.suspect = (name) => this.#mark(name);
    await this.#look();
    for (const name of await this.#allNames()) this.#due.set(name, 0);
    await this.#work();
    this.#isOpen = true;
    this.#arm();
    this.#round = setInterval(() => void this.#again(), ROUND).unref();
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    this.#watcher?.close();
    clearInterval(this.#round);
    clearTimeout(this.#tick);
    await this.#working;
  }

  /** One round: what differs from what was seen last is due, as if an event had told of it. */
  async #again(): Promise<void> {
    try {
      await this.#look();
      for (const name of await this.#allNames()) {
        if (this.#tracked.known.get(name) !== (await this.#tracked.signature(name))) this.#mark(name);
      }
    } catch (error) {
      this.#report(error);
    }
  }

  /** Watches the folder that has the path now. Throws "unavailable" where it is not the store's. */
  async #look(): Promise<void> {
    await this.#tracked.checkFolder();
    await this.#problems.sayFolder();
    const { ino } = await lstat(this.#tracked.folder, { bigint: true });
    if (this.#inode === ino) return;
    this.#watcher?.close();
    this.#watcher = this.#begin();
    this.#watcher.on("error", (error) => {
      this.#inode = undefined;
      this.#report(error);
    });
    this.#inode = ino;
  }

  #begin(): FSWatcher {
    try {
      return watch(this.#tracked.folder, (_event, name) => {
        if (name === null) void this.#again();
        else if (!name.startsWith(OWN)) this.#mark(name);
      });
    } catch (cause) {
      const why = `cannot watch the folder "${this.#tracked.folder}": ${errnoText(cause)}`;
      throw new HatchwayError("unavailable", why, { hint: "see /proc/sys/fs/inotify/max_user_instances", cause });
    }
  }

  async #allNames(): Promise<Set<string>> {
    const files = (await readdir(this.#tracked.folder)).filter((name) => !name.startsWith(OWN));
    return new Set([...files, ...(await this.#side.names())]);
  }

  #mark(name: string): void {
    const isNew = !this.#tracked.known.has(name);
    const settled = isImproper(name) ? SETTLED_IGNORED : isNew ? SETTLED_NEW : SETTLED;
    this.#due.set(name, performance.now() + settled);
    this.#arm();
  }

  #arm(): void {
    if (!this.#isOpen || this.#tick || this.#due.size === 0) return;
    this.#tick = setTimeout(() => {
      this.#working = this.#work().finally(() => {
        this.#tick = undefined;
        this.#arm();
      });
    }, TICK);
  }

  /** Looks at all that is due now. */
  async #work(): Promise<void> {
    const now = performance.now();
    const names = [...this.#due].filter(([, at]) => at <= now).map(([name]) => name);
    for (const name of names) this.#due.delete(name);
    const worker = async (): Promise<void> => {
      for (let name = names.pop(); name !== undefined; name = names.pop()) await this.#settle(name);
    };
    await Promise.all(Array.from({ length: TOGETHER }, worker));
  }

  async #settle(name: string): Promise<void> {
    let looked = await this.#intake.look(name);
    if (looked === "missing") {
      const now = performance.now();
      const since = this.#missingSince.get(name) ?? now;
      this.#missingSince.set(name, since);
      if (now - since < GRACE) return this.#later(name, since + GRACE - now);
      looked = await this.#intake.remove(name);
    }
    this.#missingSince.delete(name);
    if (looked === "later") this.#later(name, AGAIN);
  }

  /** Unless an event has come meanwhile, which decides. */
  #later(name: string, delay: number): void {
    if (!this.#due.has(name)) this.#due.set(name, performance.now() + delay);
  }
}

function isImproper(name: string): boolean {
  return secretNameProblem(name) !== undefined || PASSING.test(name);
}
