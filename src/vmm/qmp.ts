// A client of QEMU's machine protocol (docs/interop/qmp-spec.txt): one JSON value a line; a greeting, then capabilities,
// then commands with ids and, at any time, events. A guest may have taken QEMU over, so what arrives is bounded and
// nothing waits for ever.

import { EventEmitter } from "node:events";
import { connect, type Socket } from "node:net";
import { HatchwayError } from "#error";
import { descriptorOf, peerCredentials, type PeerCredentials } from "#host/peer";

const maximumLine = 1024 * 1024;
const defaultTimeoutMs = 5_000;

type Members = Record<string, unknown>;

export interface QmpEvent {
  name: string;
  members: Members;
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: HatchwayError): void;
  timer: NodeJS.Timeout;
}

/** `close` is the last event; it says why, if the reason was not the caller's own `close()`. */
interface QmpEvents {
  event: [QmpEvent];
  close: [HatchwayError | undefined];
}

export class QmpClient extends EventEmitter<QmpEvents> {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #greeted: ((error?: HatchwayError) => void) | undefined;
  #rest: Buffer = Buffer.alloc(0);
  #nextId = 1;
  #failure: HatchwayError | undefined;

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail("the connection to QEMU broke", error));
    socket.on("close", () => this.#closed());
  }

  /**
   * Connects, and has the capabilities negotiated. Throws HatchwayError "unavailable" when nobody listens at `path` or
   * it does not speak QMP, "timeout" when it is silent for `timeoutMs`; "forbidden" when who listens is not process `pid`:
   * the path is in a folder of the runner's, who could lead us to another machine's monitor by a link. Without `pid`
   * whoever listens is `peer`.
   */
  static async connect(
    path: string,
    pid: number | undefined,
    timeoutMs: number = defaultTimeoutMs,
  ): Promise<QmpClient> {
    const client = new QmpClient(connect(path));
    try {
      await client.#greeting(timeoutMs);
      const { peer } = client;
      if (pid !== undefined && peer.pid !== pid) {
        throw new HatchwayError("forbidden", `"${path}" is the monitor of process ${peer.pid}, not of ${pid}`);
      }
      await client.execute("qmp_capabilities", undefined, timeoutMs);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * The command's return value. Throws HatchwayError "unavailable" when QEMU refuses it or the connection ends, "timeout"
   * when there is no answer within `timeoutMs`.
   */
  execute(command: string, members?: Members, timeoutMs: number = defaultTimeoutMs): Promise<unknown> {
    if (this.#socket.destroyed) return Promise.reject(this.#failure ?? connectionEnded());
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new HatchwayError("timeout", `QEMU did not answer "${command}" within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#pending.set(id, { command, resolve, reject, timer });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: members, id })}\n`);
    });
  }

  /** Who listened at the socket when the connection came about. */
  get peer(): PeerCredentials {
    return peerCredentials(descriptorOf(this.#socket));
  }

  close(): void {
    this.#socket.destroy();
  }

  #greeting(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new HatchwayError("timeout", `QEMU did not greet within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#greeted = (error) => {
        clearTimeout(timer);
        if (error === undefined) resolve();
        else reject(error);
      };
    });
  }

  #receive(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = this.#rest.indexOf(0x0a); end >= 0; end = this.#rest.indexOf(0x0a)) {
      const line = this.#rest.toString("utf8", 0, end).trim();
      this.#rest = this.#rest.subarray(end + 1);
      if (line !== "") this.#line(line);
      if (this.#socket.destroyed) return;
    }
    if (this.#rest.length > maximumLine) this.#fail(`QEMU sent a line of more than ${maximumLine} bytes`);
  }

  #line(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch (error) {
      this.#fail("QEMU sent a line that is not JSON", error);
      return;
    }
    if (!isMembers(message)) this.#fail("QEMU sent a line that is not a JSON object");
    else if ("QMP" in message) this.#greeted?.();
    else if (typeof message["event"] === "string") this.#event(message["event"], message["data"]);
    else this.#answer(message);
  }

  #event(name: string, members: unknown): void {
    this.emit("event", { name, members: isMembers(members) ? members : {} });
  }

  /** An answer to what was not asked, or no longer, is passed over. */
  #answer(message: Members): void {
    const id = message["id"];
    const pending = typeof id === "number" ? this.#pending.get(id) : undefined;
    if (pending === undefined || typeof id !== "number") return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    const error = message["error"];
    if (error === undefined) {
      pending.resolve(message["return"]);
    } else {
      const reason = isMembers(error) && typeof error["desc"] === "string" ? error["desc"] : "no reason given";
      pending.reject(new HatchwayError("unavailable", `QEMU refused "${pending.command}": ${reason}`));
    }
  }

  #fail(message: string, cause?: unknown): void {
    this.#failure ??= new HatchwayError("unavailable", message, { cause });
    this.#socket.destroy();
  }

  #closed(): void {
    const error = this.#failure ?? connectionEnded();
    this.#greeted?.(error);
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
    this.emit("close", this.#failure);
  }
}

function connectionEnded(): HatchwayError {
  return new HatchwayError("unavailable", "the connection to QEMU ended");
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
