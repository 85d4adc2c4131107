// A host as the agent sees it: the guest API on a unix socket, over bundles that a test sets. It is the other end of the
// protocol, with faults on demand, not a stand-in for the daemon.
import { once } from "node:events";
import {
  createServer as createHttp,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import { serveSessions } from "#channel/serial-session";
import { encodeEnd, encodeManifestFile, entryHeader } from "#protocol/bundle";
import type { FileTarget, Manifest, ManifestEntry } from "#protocol/manifest";
import { encodeHeader, padding } from "#protocol/ustar";
import { SerialPort } from "#test/kit/serial-port";

/** An entry with its value. */
export interface Given extends Omit<ManifestEntry, "size" | "version"> {
  value: Uint8Array;
  version?: number;
}

export interface SeenReceipt {
  revision: string;
  outcome: string;
  refused: { name: string; reason: string }[];
  mount: string;
  agent: string;
  boot: string;
}

export const MTIME = 1_700_000_000;

type Options = Partial<FileTarget> & Pick<Partial<Given>, "version" | "env" | "onChange">;

/** A file entry of root, 0600, at its name, unless said otherwise. */
export function file(name: string, value: string | Uint8Array, options: Options = {}): Given {
  const { version, env: variable, onChange, ...target } = options;
  return {
    name,
    value: Buffer.from(value),
    file: { path: name, mode: "0600", user: 0, group: 0, ...target },
    ...(version !== undefined && { version }),
    ...(variable !== undefined && { env: variable }),
    ...(onChange && { onChange }),
  };
}

/** An entry that is only a variable. */
export function env(name: string, variable: string, value: string | Uint8Array): Given {
  return { name, value: Buffer.from(value), env: variable };
}

export class HostPeer {
  readonly receipts: SeenReceipt[] = [];
  /** Request lines in order, with the names of values that the answer carried. */
  readonly requests: string[] = [];
  /** The key that has claimed; a test may set it. */
  claimed: string | undefined;
  /** Answers to GET /v1/bundle are cut after so many bytes, and the connection closed. */
  cutAfter: number | undefined;
  /** The same, but the connection stays, and nothing more comes. */
  stallAfter: number | undefined;
  mountRoot = "/run/hatchway/secrets";
  /** Answers GET /v1/bundle in place of the bundle that was set. */
  body: Uint8Array | undefined;
  /** Names of entries whose values are left out of the next answer, against the protocol. */
  withheld: string[] = [];

  #counter = 0;
  #given: Given[] = [];
  /** Versions that were in force at each revision. */
  readonly #history: Map<string, Map<string, number>> = new Map();
  #changed = Promise.withResolvers<void>();
  readonly #http: HttpServer;
  #port: SerialPort | undefined;
  /** Over a serial port nobody claims. */
  #serial = false;

  constructor() {
    this.#http = createHttp({ keepAliveTimeout: 60_000 }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  get revision(): string {
    return `e1.g1.${this.#counter}`;
  }

  async listen(path: string): Promise<void> {
    this.#http.listen(path);
    await once(this.#http, "listening");
  }

  /** Listens as a virtio-serial port does, over which `stale` is still under way. */
  async listenSerial(path: string, stale: Uint8Array): Promise<void> {
    this.#port = await SerialPort.open(path, stale);
    this.serveSerial(this.#port.hostEnd);
  }

  /** Serves the host's end of a virtio-serial port. */
  serveSerial(port: Socket): void {
    this.#serial = true;
    serveSessions(port, (stream) => this.#http.emit("connection", stream));
  }

  async close(): Promise<void> {
    this.#http.closeAllConnections();
    this.#port?.close();
    if (!this.#http.listening) return;
    this.#http.close();
    await once(this.#http, "close");
  }

  /** Puts these in force as a new revision. A version that is not given counts up when the value is another. */
  set(...given: Given[]): void {
    const before = new Map(this.#given.map((one) => [one.name, one]));
    for (const one of given) {
      const old = before.get(one.name);
      one.version ??= old ? (old.version ?? 1) + (Buffer.compare(old.value, one.value) === 0 ? 0 : 1) : 1;
    }
    this.#given = given;
    this.#counter++;
    this.#history.set(this.revision, new Map(this.#given.map(({ name, version = 1 }) => [name, version])));
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Resolves at the first receipt that fits. */
  async receipt(fits: (receipt: SeenReceipt) => boolean): Promise<SeenReceipt> {
    for (;;) {
      const found = this.receipts.find(fits);
      if (found) return found;
      await this.#arrival.promise;
    }
  }

  #arrival = Promise.withResolvers<void>();

  /** The whole tar at the revision in force, without what the reader has. */
  tar(have?: string): Buffer {
    const known = have === undefined ? undefined : this.#history.get(have);
    const entries = this.#given.map(({ value, version = 1, ...rest }) => ({ ...rest, version, size: value.length }));
    const manifest: Manifest = { format: 1, vm: "web-1", revision: this.revision, mountRoot: this.mountRoot, entries };
    const parts = [encodeManifestFile(manifest)];
    const sent: string[] = [];
    for (const [index, entry] of entries.entries()) {
      if (known?.get(entry.name) === entry.version || this.withheld.includes(entry.name)) continue;
      const value = this.#given[index]?.value ?? Buffer.alloc(0);
      parts.push(encodeHeader(entryHeader(entry, MTIME)), value, new Uint8Array(padding(entry.size)));
      sent.push(entry.name);
    }
    this.requests[this.requests.length - 1] += ` -> ${sent.join(" ")}`;
    return Buffer.concat([...parts, encodeEnd()]);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://hatchway");
    this.requests.push(`${request.method ?? ""} ${request.url ?? ""}`);
    if (url.pathname === "/v1/claim") return this.#claim(request, response);
    const key = /^Hatchway ([0-9a-f]{64})$/.exec(request.headers.authorization ?? "")?.[1];
    if (!this.#serial && (key === undefined || key !== this.claimed)) return end(response, 401);
    if (url.pathname === "/v1/bundle") return this.#bundle(url, response);
    const receipt = /^\/v1\/receipts\/(.+)$/.exec(url.pathname);
    if (!receipt?.[1]) return end(response, 404);
    const body = await bodyOf(request);
    this.receipts.push({ ...(JSON.parse(body.toString()) as SeenReceipt), revision: receipt[1] });
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
    response.writeHead(204).end();
  }

  async #claim(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { key } = JSON.parse((await bodyOf(request)).toString()) as { key: string };
    this.claimed ??= key;
    end(response, this.claimed === key ? 200 : 409);
  }

  async #bundle(url: URL, response: ServerResponse): Promise<void> {
    const have = url.searchParams.get("have") ?? undefined;
    const wait = Number(url.searchParams.get("wait") ?? 0);
    if (have === this.revision) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, wait * 1000)));
      const gone = once(response, "close");
      await Promise.race([this.#changed.promise, late, gone]);
      clearTimeout(timer);
    }
    if (have === this.revision) {
      response.writeHead(304).end();
      return;
    }
    const tar = this.body ?? this.tar(have);
    response.writeHead(200, {
      "content-type": "application/x-tar",
      "content-length": tar.length,
      etag: `"${this.revision}"`,
    });
    if (this.stallAfter !== undefined) response.write(tar.subarray(0, this.stallAfter));
    else if (this.cutAfter === undefined) response.end(tar);
    else response.write(tar.subarray(0, this.cutAfter), () => response.destroy());
  }
}

function end(response: ServerResponse, status: number): void {
  response.writeHead(status, { "content-length": 0 }).end();
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
