// The TypeScript client of the admin API: one method a route, as src/api.ts words it. Names are checked against the
// grammar before anything is sent; values are Buffers, in and nowhere out. All methods throw HatchwayError.
import type {
  DeliveryBody,
  GrantBody,
  SecretBody,
  SecretRemoved,
  StatusBody,
  VmBody,
  VmRequestBody,
  WhoamiBody,
  CanBody,
} from "#api";
import { HatchwayError } from "#error";
import type { Request } from "./request.ts";
import type { Verb } from "#role";
import { Transport } from "./transport.ts";
import { parseTarget, type CredentialFiles } from "./uri.ts";
import { secretNameProblem, vmNameProblem } from "#protocol/names";

/** How long the daemon shall wait before it answers, and for what. */
export interface Wait {
  /** The VM's first receipt of this boot, or that it has all that it is to have. */
  until: "agent" | "synced";
  /** Milliseconds; "timeout" is thrown after them. */
  timeout: number;
}

export interface LogRequest {
  /** How many of the last lines. */
  lines: number;
  /** Go on as lines come, until the connection ends. */
  follow: boolean;
}

export interface Client {
  /** Whether the daemon is reached by its socket, so that it is a process of this machine. */
  readonly isLocal: boolean;
  secrets(): Promise<SecretBody[]>;
  secret(name: string): Promise<SecretBody>;
  /**
   * Stores a value verbatim, with what `delivery` says of how it is delivered. `create` throws "exists", `update`
   * "not-found". `value` stays the caller's to wipe.
   */
  putSecret(
    name: string,
    how: "create" | "update" | "set",
    value: Buffer,
    delivery?: DeliveryBody,
  ): Promise<{ secret: SecretBody; created: boolean }>;
  /** Changes how a secret is delivered, and not its value. */
  patchSecret(name: string, delivery: DeliveryBody): Promise<SecretBody>;
  removeSecret(name: string): Promise<SecretRemoved>;
  /** Names of the VMs that it is attached to. */
  holders(name: string): Promise<string[]>;

  vms(): Promise<VmBody[]>;
  vm(name: string, wait?: Wait): Promise<VmBody>;
  createVm(request: VmRequestBody, options?: { launch?: boolean; wait?: Wait }): Promise<VmBody>;
  removeVm(name: string): Promise<void>;
  startVm(name: string, wait?: Wait): Promise<VmBody>;
  /** Ends the process after `grace` milliseconds if the guest has not powered down. */
  stopVm(name: string, grace: number): Promise<VmBody>;
  grants(vm: string): Promise<GrantBody[]>;
  attach(vm: string, secret: string, delivery: DeliveryBody): Promise<GrantBody>;
  detach(vm: string, secret: string): Promise<void>;
  /** The VM's console, without control characters. */
  vmLogs(name: string, request: LogRequest): AsyncIterable<Buffer>;

  /** Who the daemon takes this client for, and what he may do. */
  whoami(): Promise<WhoamiBody>;
  /** Whether he could do something to a secret, a VM, or to both: attach and detach. */
  can(verb: Verb, subject: { secret?: string; vm?: string }): Promise<CanBody>;
  status(): Promise<StatusBody>;
  /** The daemon's log. */
  logs(request: LogRequest): AsyncIterable<Buffer>;
}

/**
 * A client of the daemon that `uri` names: `secret:///system`, `secret:///session`, `unix:///path/to.sock`,
 * `http://127.0.0.1:port` with a token or `https://host:port` with a token or a certificate; HATCHWAY_URI when
 * undefined, and without that the user's session daemon if it runs, else the system's. `files` are those of a network
 * connection; HATCHWAY_TOKEN_FILE, _CERT_FILE, _KEY_FILE and _CA_FILE name those that it leaves out. Connects with the
 * first request. Throws "invalid" or "unsupported" for another URI.
 */
export function connect(uri?: string, env: NodeJS.ProcessEnv = process.env, files: CredentialFiles = {}): Client {
  const target = parseTarget(uri ?? env["HATCHWAY_URI"], env, process.getuid?.() ?? 0, files);
  return new HttpClient(new Transport(target), target.kind === "socket");
}

/** Milliseconds that the daemon gets on top of those that it was asked to wait. */
const SLACK = 30_000;

class HttpClient implements Client {
  readonly isLocal: boolean;
  readonly #transport: Transport;

  constructor(transport: Transport, isLocal: boolean) {
    this.#transport = transport;
    this.isLocal = isLocal;
  }

  secrets(): Promise<SecretBody[]> {
    return this.#json({ method: "GET", path: "/secrets" });
  }

  async secret(name: string): Promise<SecretBody> {
    return this.#json({ method: "GET", path: secretPath(name) });
  }

  async putSecret(
    name: string,
    how: "create" | "update" | "set",
    value: Buffer,
    delivery: DeliveryBody = {},
  ): Promise<{ secret: SecretBody; created: boolean }> {
    const condition: Record<string, string> =
      how === "create" ? { "if-none-match": "*" } : how === "update" ? { "if-match": "*" } : {};
    const answer = await this.#transport.send({
      method: "PUT",
      path: `${secretPath(name)}/value${query(deliveryQuery(delivery))}`,
      headers: { "content-type": "application/octet-stream", ...condition },
      body: value,
    });
    return { secret: parse(answer.body) as SecretBody, created: answer.status === 201 };
  }

  async patchSecret(name: string, delivery: DeliveryBody): Promise<SecretBody> {
    return this.#json({ method: "PATCH", path: secretPath(name), ...jsonBody(delivery) });
  }

  async removeSecret(name: string): Promise<SecretRemoved> {
    return this.#json({ method: "DELETE", path: secretPath(name) });
  }

  async holders(name: string): Promise<string[]> {
    return this.#json({ method: "GET", path: `${secretPath(name)}/vms` });
  }

  vms(): Promise<VmBody[]> {
    return this.#json({ method: "GET", path: "/vms" });
  }

  async vm(name: string, wait?: Wait): Promise<VmBody> {
    return this.#json({ method: "GET", path: vmPath(name) + query(waitQuery(wait)), ...patience(wait?.timeout) });
  }

  async createVm(request: VmRequestBody, options: { launch?: boolean; wait?: Wait } = {}): Promise<VmBody> {
    vmPath(request.name);
    const launch: Record<string, string> = options.launch === true ? { launch: "true" } : {};
    return this.#json({
      method: "POST",
      path: `/vms${query({ ...launch, ...waitQuery(options.wait) })}`,
      ...jsonBody(request),
      ...patience(options.wait?.timeout),
    });
  }

  async removeVm(name: string): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: vmPath(name) });
  }

  async startVm(name: string, wait?: Wait): Promise<VmBody> {
    return this.#json({
      method: "POST",
      path: `${vmPath(name)}/start${query(waitQuery(wait))}`,
      ...patience(wait?.timeout),
    });
  }

  async stopVm(name: string, grace: number): Promise<VmBody> {
    return this.#json({
      method: "POST",
      path: `${vmPath(name)}/stop${query({ grace: formatTimeout(grace) })}`,
      ...patience(grace),
    });
  }

  async grants(vm: string): Promise<GrantBody[]> {
    return this.#json({ method: "GET", path: `${vmPath(vm)}/secrets` });
  }

  async attach(vm: string, secret: string, delivery: DeliveryBody): Promise<GrantBody> {
    return this.#json({ method: "PUT", path: vmPath(vm) + secretPath(secret), ...jsonBody(delivery) });
  }

  async detach(vm: string, secret: string): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: vmPath(vm) + secretPath(secret) });
  }

  vmLogs(name: string, request: LogRequest): AsyncIterable<Buffer> {
    return this.#text(`${vmPath(name)}/logs`, request);
  }

  whoami(): Promise<WhoamiBody> {
    return this.#json({ method: "GET", path: "/whoami" });
  }

  can(verb: Verb, subject: { secret?: string; vm?: string }): Promise<CanBody> {
    return this.#json({ method: "GET", path: `/can${query({ verb, ...subject })}` });
  }

  status(): Promise<StatusBody> {
    return this.#json({ method: "GET", path: "/status" });
  }

  logs(request: LogRequest): AsyncIterable<Buffer> {
    return this.#text("/logs", request);
  }

  async #json<Body>(request: Request): Promise<Body> {
    return parse((await this.#transport.send(request)).body) as Body;
  }

  async *#text(path: string, { lines, follow }: LogRequest): AsyncGenerator<Buffer> {
    const parameters: Record<string, string> = { lines: String(lines), ...(follow ? { follow: "true" } : {}) };
    const request: Request = { method: "GET", path: path + query(parameters), ...(follow ? { patience: 0 } : {}) };
    for await (const chunk of await this.#transport.open(request)) yield chunk as Buffer;
  }
}

function secretPath(name: string): string {
  const problem = secretNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  return `/secrets/${name}`;
}

function vmPath(name: string): string {
  const problem = vmNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  return `/vms/${name}`;
}

function query(parameters: Record<string, string>): string {
  const text = new URLSearchParams(parameters).toString();
  return text === "" ? "" : `?${text}`;
}

function waitQuery(wait: Wait | undefined): Record<string, string> {
  return wait === undefined ? {} : { wait: wait.until, timeout: formatTimeout(wait.timeout) };
}

function formatTimeout(milliseconds: number): string {
  return milliseconds % 1000 === 0 ? `${milliseconds / 1000}s` : `${milliseconds}ms`;
}

function patience(waited: number | undefined): { patience?: number } {
  return waited === undefined ? {} : { patience: waited + SLACK };
}

/** `DeliveryBody` as query parameters, in which nothing can be taken away. */
function deliveryQuery(delivery: DeliveryBody): Record<string, string> {
  const parameters: Record<string, string> = {};
  for (const [key, value] of Object.entries(delivery) as [string, unknown][]) {
    if (value === undefined) continue;
    if (value === null) {
      throw new HatchwayError("invalid", `${key} cannot be taken away together with a new value`, {
        hint: "do it in two steps",
      });
    }
    parameters[key] = typeof value === "object" ? JSON.stringify(value) : `${value as string | number | boolean}`;
  }
  return parameters;
}

function jsonBody(body: unknown): { headers: Record<string, string>; body: Buffer } {
  return { headers: { "content-type": "application/json" }, body: Buffer.from(JSON.stringify(body)) };
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new HatchwayError("unavailable", "the daemon's answer is not JSON", {
      hint: "is another program listening on that socket?",
      cause,
    });
  }
}
