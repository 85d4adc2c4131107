// A client that remembers what it was told: what was answered is there, and of what was not, the old or the new. It says
// after a crash whether the daemon kept to that, with a line in the audit trail for every answer.
import { randomInt } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { isErrno } from "#host/files";
import { call, type Reply } from "#test/kit/http";
import { makeReader, takeBackup, type BackupReader, type TakenBackup } from "#test/kit/taken-backup";
import { auditLines } from "#test/kit/vault";

/** The states that each thing may be in, by its key; undefined: it is not there. */
class Possible {
  readonly #states = new Map<string, Set<string | undefined>>();

  answered(key: string, state: string | undefined): void {
    this.#states.set(key, new Set([state]));
  }

  unanswered(key: string, state: string | undefined): void {
    this.#states.set(key, this.of(key).add(state));
  }

  of(key: string): Set<string | undefined> {
    return this.#states.get(key) ?? new Set([undefined]);
  }

  /** What is wrong with `state`, if anything; from then on it is the one. */
  seen(key: string, state: string | undefined): string[] {
    const before = this.of(key);
    this.answered(key, state);
    return before.has(state) ? [] : [`${key} is ${state}, and should be ${[...before].join(" or ")}`];
  }

  keys(kind: string): string[] {
    return [...this.#states.keys()].filter((key) => key.startsWith(kind));
  }
}

export class Witness {
  readonly #socket: string;
  readonly #trail: string;
  readonly #possible = new Possible();
  /** By operation and secret, how many answers there were since the trail had `#from` bytes. */
  #answers = new Map<string, number>();
  #from = 0;
  #count = 0;
  #control = "";
  /** How many backups came whole. */
  backups = 0;
  readonly #reader: BackupReader;

  private constructor(socket: string, trail: string, reader: BackupReader) {
    this.#socket = socket;
    this.#trail = trail;
    this.#reader = reader;
  }

  /** Makes the VM whose bundle shows what there is, and the one that secrets are attached to. */
  static async of(socket: string, trail: string): Promise<Witness> {
    const witness = new Witness(socket, trail, await makeReader());
    const made = await witness.#must("POST", "/vms", '{"name":"reader"}');
    await witness.#must("POST", "/vms", '{"name":"web"}');
    await witness.#must("PUT", "/secrets/none/value", "none");
    witness.#control = (JSON.parse(made.text) as { control_socket: string }).control_socket;
    witness.#possible.answered("term", "1");
    return witness;
  }

  /** Creates or updates. */
  async put(name: string): Promise<void> {
    const value = this.#value(name);
    const told = await this.#tell("PUT", `/secrets/${name}/value`, value);
    this.#learn(told, "secret.set", name, `secret ${name}`, tokenOf(value));
  }

  /** As Slicer's clients update. */
  async patch(name: string): Promise<void> {
    const value = this.#value(name);
    const body = JSON.stringify({ data: Buffer.from(value).toString("base64") });
    this.#learn(
      await this.#tell("PATCH", `/secrets/${name}`, body),
      "secret.update",
      name,
      `secret ${name}`,
      tokenOf(value),
    );
  }

  async remove(name: string): Promise<void> {
    const told = await this.#tell("DELETE", `/secrets/${name}`);
    this.#learn(told, "secret.remove", name, `secret ${name}`, undefined);
    this.#learn(told, undefined, name, `grant ${name}`, undefined);
  }

  async attach(name: string): Promise<void> {
    this.#learn(await this.#tell("PUT", `/vms/web/secrets/${name}`), "grant.attach", name, `grant ${name}`, "attached");
  }

  async detach(name: string): Promise<void> {
    this.#learn(
      await this.#tell("DELETE", `/vms/web/secrets/${name}`),
      "grant.detach",
      name,
      `grant ${name}`,
      undefined,
    );
  }

  async rotateKeys(): Promise<void> {
    const next = Math.max(...[...this.#possible.of("term")].map(Number)) + 1;
    this.#learn(await this.#tell("POST", "/keys/rotate"), "key.rotate", undefined, "term", `${next}`);
  }

  async rewrap(): Promise<void> {
    await this.#tell("POST", "/keys/rewrap");
  }

  /** Reads all values that the reader has. */
  async read(): Promise<void> {
    const bundle = await attempt(() => call(this.#control, "GET", "/bundle"));
    if (bundle?.status !== 200) return;
    for (const token of tokensIn(bundle.text)) this.#answer("secret.disclose", nameOf(token));
  }

  /** Takes a backup of everything; what is wrong with one that is whole. */
  async backUp(): Promise<string[]> {
    const taken = await takeBackup(this.#socket, this.#reader);
    if (!taken) return [];
    this.#answer("backup.make", undefined);
    for (const { name } of taken.values) this.#answer("backup.make", name);
    if (!taken.isWhole) return [];
    this.backups++;
    return this.#compareBackup(taken);
  }

  #compareBackup({ values }: TakenBackup): string[] {
    // Newest first.
    const newest = new Map(values.toReversed().map(({ name, text }) => [name, tokenOf(text)]));
    newest.delete("none");
    return this.#all("secret ", [...newest.keys()]).flatMap((name) => {
      const states = this.#possible.of(`secret ${name}`);
      const state = newest.get(name);
      return states.has(state) ? [] : [`the backup has ${state} of ${name}, and should ${[...states].join(" or ")}`];
    });
  }

  /** From here on answers are compared with the trail. */
  async begin(): Promise<void> {
    this.#answers = new Map();
    this.#from = (await stat(this.#trail)).size;
  }

  /** How many answers there were since `begin`. */
  get answers(): number {
    return [...this.#answers.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Answers since `begin` that have no line in the audit trail. */
  async unaudited(): Promise<string[]> {
    await using file = await open(this.#trail);
    const { size } = await file.stat();
    const bytes = Buffer.alloc(size - this.#from);
    await file.read(bytes, 0, bytes.length, this.#from);
    const lines = new Map<string, number>();
    // A last line that was cut off says nothing; `auditLines` leaves it out.
    for (const { op, secret, outcome } of auditLines(bytes.toString())) {
      if (outcome === "ok") lines.set(lineOf(op, secret), (lines.get(lineOf(op, secret)) ?? 0) + 1);
    }
    return [...this.#answers].flatMap(([line, count]) => {
      const written = lines.get(line) ?? 0;
      return written < count ? [`${count} answers to ${line}, and ${written} lines`] : [];
    });
  }

  /** What a daemon that was started again has, and should not, or has not, and should. */
  async compare(): Promise<string[]> {
    const { text } = await this.#must("GET", "/secrets");
    const names = (JSON.parse(text) as { name: string }[]).map(({ name }) => name).filter((name) => name !== "none");
    for (const name of names) await this.#must("PUT", `/vms/reader/secrets/${name}`);
    const bundle = await call(this.#control, "GET", "/bundle");
    if (bundle.status !== 200) return [`the bundle is refused: ${bundle.text}`];
    const values = new Map(tokensIn(bundle.text).map((token) => [nameOf(token), token]));
    const grants = JSON.parse((await this.#must("GET", "/vms/web/secrets")).text) as { name: string }[];
    const attached = new Set(grants.map(({ name }) => name));
    const { current } = JSON.parse((await this.#must("GET", "/keys")).text) as { current: number };
    await this.#must("GET", "/audit/verify");
    return [
      ...this.#all("secret ", names).flatMap((name) => this.#possible.seen(`secret ${name}`, values.get(name))),
      ...this.#all("grant ", [...attached]).flatMap((name) =>
        this.#possible.seen(`grant ${name}`, attached.has(name) ? "attached" : undefined),
      ),
      ...this.#possible.seen("term", `${current}`),
    ];
  }

  #all(kind: string, there: readonly string[]): string[] {
    return [...new Set([...there, ...this.#possible.keys(kind).map((key) => key.slice(kind.length))])];
  }

  #value(name: string): string {
    return `<<${name}:${++this.#count}>>${"x".repeat(randomInt(10) === 0 ? randomInt(200_000) : randomInt(3_000))}`;
  }

  #learn(
    told: boolean,
    op: string | undefined,
    secret: string | undefined,
    key: string,
    state: string | undefined,
  ): void {
    if (!told) return this.#possible.unanswered(key, state);
    this.#possible.answered(key, state);
    if (op !== undefined) this.#answer(op, secret);
  }

  #answer(op: string, secret: string | undefined): void {
    const line = lineOf(op, secret);
    this.#answers.set(line, (this.#answers.get(line) ?? 0) + 1);
  }

  /** Whether the daemon said that it was done. */
  async #tell(method: string, path: string, body?: string): Promise<boolean> {
    const reply = await attempt(() => call(this.#socket, method, path, body));
    return reply !== undefined && reply.status < 300;
  }

  async #must(method: string, path: string, body?: string): Promise<Reply> {
    const reply = await call(this.#socket, method, path, body);
    if (reply.status < 300) return reply;
    throw new Error(`${method} ${path}: ${reply.status} ${reply.text}`);
  }
}

const lineOf = (op: string, secret: string | undefined): string => `${op} ${secret ?? ""}`.trim();
const tokenOf = (value: string): string => tokensIn(value)[0] ?? "";
const tokensIn = (text: string): string[] => text.match(/<<[A-Za-z0-9._-]+:[0-9]+>>/g) ?? [];
const nameOf = (token: string): string => token.slice(2, token.lastIndexOf(":"));

/** Undefined where the connection broke before there was an answer. */
async function attempt(ask: () => Promise<Reply>): Promise<Reply | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (["ECONNRESET", "ECONNREFUSED", "EPIPE", "ENOENT"].some((code) => isErrno(error, code))) return undefined;
    throw error;
  }
}
