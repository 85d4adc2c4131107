// A guest that takes every change as its agent would, and remembers each.
import { readBundle } from "#test/kit/bundle";
import { GuestConnection } from "#test/kit/guest-connection";

const KEY = "5a".repeat(32);

/** What one answer brought: the value of each file that came along, and the mode and owner of all that it is to have. */
export interface Seen {
  brings: Record<string, string>;
  has: Record<string, { version: number; mode: string; user: number | string; group: number | string }>;
}

export class GuestWatch {
  readonly seen: Seen[] = [];
  readonly #connection: GuestConnection;
  readonly #ended: Promise<void>;

  private constructor(connection: GuestConnection) {
    this.#connection = connection;
    this.#ended = this.#run();
  }

  /** `socket`: the VM's end of vsock. */
  static async open(socket: string): Promise<GuestWatch> {
    const connection = await GuestConnection.open(socket);
    const claim = await connection.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
    if (claim?.status !== 200) throw new Error(`the claim was answered ${claim?.status}`);
    const made = new GuestWatch(connection);
    while (made.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    return made;
  }

  async #run(): Promise<void> {
    let have = "";
    for (;;) {
      const query = have === "" ? "" : `?have=${have}&wait=60`;
      const answer = await this.#connection.ask(`GET /v1/bundle${query}`, { authorization: `Hatchway ${KEY}` });
      if (!answer) return;
      if (answer.status === 304) continue;
      const { manifest, values, error } = readBundle([answer.body]);
      if (answer.status !== 200 || error !== undefined || !manifest) {
        throw new Error(`a bundle of ${answer.status} is not whole`, { cause: error });
      }
      have = manifest.revision;
      this.seen.push({
        brings: Object.fromEntries(values.map(({ path, content }) => [path, content.toString()])),
        has: Object.fromEntries(
          manifest.entries.map(({ name, version, file }) => [
            name,
            { version, mode: file?.mode ?? "", user: file?.user ?? 0, group: file?.group ?? 0 },
          ]),
        ),
      });
    }
  }

  async close(): Promise<void> {
    this.#connection.close();
    await this.#ended;
  }
}
