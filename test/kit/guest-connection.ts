// A guest's end of a channel, byte by byte: what a stranger would send, and what comes back.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface GuestAnswer {
  status: number;
  headers: Map<string, string>;
  body: Buffer;
  /** As it came. */
  raw: Buffer;
}

export class GuestConnection {
  readonly socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;

  /** Of a socket that is connected. */
  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    socket.on("error", () => undefined);
    socket.once("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  static async open(path: string): Promise<GuestConnection> {
    const socket = connect(path);
    await once(socket, "connect");
    return new GuestConnection(socket);
  }

  /** Opens, and begins a session as docs/formats.md says. */
  static async openSerial(path: string): Promise<GuestConnection> {
    const made = await GuestConnection.open(path);
    await made.resync();
    return made;
  }

  async resync(): Promise<void> {
    const opening = Buffer.from(`\0${randomBytes(16).toString("hex")}\n`, "latin1");
    this.send(opening);
    for (;;) {
      const at = this.#received.indexOf(opening);
      if (at >= 0) {
        this.#received = this.#received.subarray(at + opening.length);
        return;
      }
      if (!(await this.#more())) throw new Error("the port closed before the session began");
    }
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Sends one request and gives its answer; undefined when the connection ended instead. */
  ask(line: string, headers: Record<string, string> = {}, body: string = ""): Promise<GuestAnswer | undefined> {
    const fields = { host: "hatchway", ...(body !== "" && { "content-length": `${body.length}` }), ...headers };
    const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    this.send(`${line} HTTP/1.1\r\n${head.join("")}\r\n${body}`);
    return this.answer(line.startsWith("HEAD "));
  }

  async answer(headOnly: boolean = false): Promise<GuestAnswer | undefined> {
    let end = this.#received.indexOf("\r\n\r\n");
    while (end < 0) {
      if (!(await this.#more())) return undefined;
      end = this.#received.indexOf("\r\n\r\n");
    }
    const [first = "", ...lines] = this.#received.toString("latin1", 0, end).split("\r\n");
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
    );
    const status = Number(first.split(" ")[1]);
    const length = headOnly || status === 204 || status === 304 ? 0 : Number(headers.get("content-length") ?? 0);
    const whole = end + 4 + length;
    while (this.#received.length < whole) if (!(await this.#more())) return undefined;
    const raw = this.#received.subarray(0, whole);
    this.#received = this.#received.subarray(whole);
    return { status, headers, body: raw.subarray(end + 4), raw };
  }

  /** Resolves once the other end has closed; gives what came and was not asked for. */
  async closed(): Promise<Buffer> {
    while (await this.#more()) continue;
    return this.#received;
  }

  /** What came and was not asked for, once nothing has come for a while. */
  async quiet(): Promise<Buffer> {
    for (;;) {
      const size = this.#received.length;
      await new Promise((resolve) => setTimeout(resolve, 200));
      if (this.#received.length === size) return this.#received;
    }
  }

  get ended(): boolean {
    return this.#ended;
  }

  close(): void {
    this.socket.destroy();
  }

  /** Waits for bytes; false at the end. */
  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const size = this.#received.length;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    return this.#received.length > size || !this.#ended;
  }
}
