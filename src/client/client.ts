// The TypeScript client of the admin API: one method a route, as src/api.ts words it. Names are checked against the
// grammar before anything is sent; values are Buffers, in and nowhere out. All methods throw HatchwayError.
import type {
  AboutBody,
  AttachRequest,
  CanBody,
  DeliveryBody,
  GrantBody,
  ImageRequest,
  KeyBackupBody,
  KeysBody,
  RestoredBody,
  RewrapBody,
  SecretBody,
  SecretRemoved,
  SecretRenamed,
  StatusBody,
  TrailBody,
  TrailQuery,
  UnsealedBody,
  UnsealQuery,
  VersionBody,
  VmBody,
  VmRequestBody,
  WayBody,
  WayQuery,
  WhoamiBody,
} from "#api";
import type { BackupContents, BackupReaders } from "#backup";
import type { Request } from "./request.ts";
import type { Verb } from "#role";
import {
  backupQuery,
  formatTimeout,
  jsonBody,
  metadataQuery,
  parse,
  patience,
  query,
  secretPath,
  vmPath,
  waitQuery,
  wayPath,
} from "./requests.ts";
import { bodyOf, Transport } from "./transport.ts";
import { parseTarget, type CredentialFiles } from "./uri.ts";

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

/** How a secret is delivered, and what is said of it. */
export type MetadataBody = DeliveryBody & AboutBody;

export interface Client {
  /** Whether the daemon is reached by its socket, so that it is a process of this machine. */
  readonly isLocal: boolean;
  secrets(): Promise<SecretBody[]>;
  secret(name: string): Promise<SecretBody>;
  /**
   * Stores a value verbatim, with what `metadata` says of it. `create` throws "exists", `update`
   * "not-found". `value` stays the caller's to wipe.
   */
  putSecret(
    name: string,
    how: "create" | "update" | "set",
    value: Buffer,
    metadata?: MetadataBody,
  ): Promise<{ secret: SecretBody; created: boolean }>;
  /** Changes how a secret is delivered or what is said of it, and not its value. */
  patchSecret(name: string, metadata: MetadataBody): Promise<SecretBody>;
  removeSecret(name: string): Promise<SecretRemoved>;
  /** The versions that are kept, newest first. */
  history(name: string): Promise<VersionBody[]>;
  /** A new version, with the value of version `to`, or of the one before the current. */
  rollbackSecret(name: string, to?: number): Promise<SecretBody>;
  renameSecret(name: string, to: string): Promise<SecretRenamed>;
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
  attach(vm: string, secret: string, request: AttachRequest): Promise<GrantBody>;
  unpin(vm: string, secret: string): Promise<GrantBody>;
  detach(vm: string, secret: string): Promise<void>;
  /** The VM's console, without control characters. */
  vmLogs(name: string, request: LogRequest): AsyncIterable<Buffer>;

  keys(): Promise<KeysBody>;
  /** `secret`: the passphrase, or the credential's key; stays the caller's to wipe. */
  addWay(name: string, way: WayQuery, secret: Buffer): Promise<WayBody>;
  removeWay(name: string): Promise<void>;
  /** Answers the new term. */
  rotateKeys(): Promise<{ term: number }>;
  /** Begins, unless it is under way. */
  startRewrap(): Promise<RewrapBody>;
  rewrap(): Promise<RewrapBody>;
  retireTerm(term: number): Promise<void>;
  /** Wipes every key of the running daemon; VMs go on with what they have. */
  sealKeys(): Promise<void>;
  /** Opens them again, by what is brought or by what asks nobody; `secret` stays the caller's to wipe. */
  unsealKeys(by?: UnsealQuery["by"], secret?: Buffer): Promise<UnsealedBody>;
  /** An age file with all that opens the store. */
  backupKeys(recipient: string): Promise<Buffer>;

  /** What a backup would have. */
  backupContents(only?: readonly string[]): Promise<BackupContents>;
  /** A backup, an age file in pieces; `size` is told before the first. A passphrase stays the caller's to wipe. */
  backup(readers: BackupReaders, only?: readonly string[], size?: (size: number) => void): AsyncIterable<Buffer>;
  /** Takes in the secrets of an unsealed backup, all or none; answers their names. */
  restore(backup: AsyncIterable<Buffer>): Promise<RestoredBody>;

  /** What a VM has, as an image, in pieces that are wiped after each call of `take`. */
  buildImage(vm: string, request: ImageRequest, take: (piece: Buffer) => void): Promise<void>;

  /** The audit trail: its last lines, each of JSON. */
  auditTail(request: LogRequest): AsyncIterable<Buffer>;
  /** Those of its lines that fit, oldest first. */
  auditExport(query: TrailQuery): AsyncIterable<Buffer>;
  /** Checks all of it; throws "corrupt" with the first bad line. */
  auditVerify(): Promise<TrailBody>;

  /** Who the daemon takes this client for, and what he may do. */
  whoami(): Promise<WhoamiBody>;
  /** Whether he could do something to a secret, a VM, or to both: attach and detach. */
  can(verb: Verb, subject: { secret?: string; vm?: string }): Promise<CanBody>;
  status(): Promise<StatusBody>;
  /** The daemon's log. */
  logs(request: LogRequest): AsyncIterable<Buffer>;

  /** Lets go of an embedded store, so that this process can end and another can open it; of a daemon there is nothing. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A client of the daemon that `uri` names: `secret:///system`, `secret:///session`, `unix:///path/to.sock`,
 * `http://127.0.0.1:port` with a token or `https://host:port` with a token or a certificate, `embed:///root` for a store
 * in this process; HATCHWAY_URI when undefined, and without that the user's session daemon if it runs, else the system's. `files` are those of a network
 * connection; HATCHWAY_TOKEN_FILE, _CERT_FILE, _KEY_FILE and _CA_FILE name those that it leaves out. Connects with the
 * first request. Throws "invalid" or "unsupported" for another URI.
 */
export function connect(uri?: string, env: NodeJS.ProcessEnv = process.env, files: CredentialFiles = {}): Client {
  const target = parseTarget(uri ?? env["HATCHWAY_URI"], env, process.getuid?.() ?? 0, files);
  return new HttpClient(new Transport(target), target.kind === "socket");
}

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
    metadata: MetadataBody = {},
  ): Promise<{ secret: SecretBody; created: boolean }> {
    const condition: Record<string, string> =
      how === "create" ? { "if-none-match": "*" } : how === "update" ? { "if-match": "*" } : {};
    const answer = await this.#transport.send({
      method: "PUT",
      path: `${secretPath(name)}/value${query(metadataQuery(metadata))}`,
      headers: { "content-type": "application/octet-stream", ...condition },
      body: value,
    });
    return { secret: parse(answer.body) as SecretBody, created: answer.status === 201 };
  }

  async patchSecret(name: string, metadata: MetadataBody): Promise<SecretBody> {
    return this.#json({ method: "PATCH", path: secretPath(name), ...jsonBody(metadata) });
  }

  async removeSecret(name: string): Promise<SecretRemoved> {
    return this.#json({ method: "DELETE", path: secretPath(name) });
  }

  async history(name: string): Promise<VersionBody[]> {
    return this.#json({ method: "GET", path: `${secretPath(name)}/history` });
  }

  async rollbackSecret(name: string, to?: number): Promise<SecretBody> {
    const body = to === undefined ? {} : { to };
    return this.#json({ method: "POST", path: `${secretPath(name)}/rollback`, ...jsonBody(body) });
  }

  async renameSecret(name: string, to: string): Promise<SecretRenamed> {
    secretPath(to);
    return this.#json({ method: "POST", path: `${secretPath(name)}/rename`, ...jsonBody({ to }) });
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

  async attach(vm: string, secret: string, request: AttachRequest): Promise<GrantBody> {
    return this.#json({ method: "PUT", path: vmPath(vm) + secretPath(secret), ...jsonBody(request) });
  }

  async unpin(vm: string, secret: string): Promise<GrantBody> {
    return this.#json({ method: "DELETE", path: `${vmPath(vm)}${secretPath(secret)}/pin` });
  }

  async detach(vm: string, secret: string): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: vmPath(vm) + secretPath(secret) });
  }

  vmLogs(name: string, request: LogRequest): AsyncIterable<Buffer> {
    return this.#text(`${vmPath(name)}/logs`, request);
  }

  keys(): Promise<KeysBody> {
    return this.#json({ method: "GET", path: "/keys" });
  }

  async addWay(name: string, way: WayQuery, secret: Buffer): Promise<WayBody> {
    const given = Object.entries(way).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const headers = { "content-type": "application/octet-stream" };
    const path = `${wayPath(name)}${query(Object.fromEntries(given))}`;
    return this.#json({ method: "POST", path, headers, body: secret });
  }

  async removeWay(name: string): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: wayPath(name) });
  }

  rotateKeys(): Promise<{ term: number }> {
    return this.#json({ method: "POST", path: "/keys/rotate" });
  }

  startRewrap(): Promise<RewrapBody> {
    return this.#json({ method: "POST", path: "/keys/rewrap" });
  }

  rewrap(): Promise<RewrapBody> {
    return this.#json({ method: "GET", path: "/keys/rewrap" });
  }

  async retireTerm(term: number): Promise<void> {
    await this.#transport.send({ method: "DELETE", path: `/keys/terms/${term}`, patience: 600_000 });
  }

  async sealKeys(): Promise<void> {
    await this.#transport.send({ method: "POST", path: "/keys/seal" });
  }

  unsealKeys(by?: UnsealQuery["by"], secret: Buffer = Buffer.alloc(0)): Promise<UnsealedBody> {
    const headers = { "content-type": "application/octet-stream" };
    const path = `/keys/unseal${query(by === undefined ? {} : { by })}`;
    return this.#json({ method: "POST", path, headers, body: secret });
  }

  async backupKeys(recipient: string): Promise<Buffer> {
    const { age } = await this.#json<KeyBackupBody>({
      method: "POST",
      path: "/keys/backup",
      ...jsonBody({ recipient }),
    });
    return Buffer.from(age, "base64");
  }

  backupContents(only?: readonly string[]): Promise<BackupContents> {
    return this.#json({ method: "GET", path: `/backup${query(backupQuery(only))}` });
  }

  async *backup(
    readers: BackupReaders,
    only?: readonly string[],
    size?: (size: number) => void,
  ): AsyncGenerator<Buffer> {
    const parameters = backupQuery(only);
    if ("recipients" in readers) parameters["recipients"] = readers.recipients.join(",");
    const response = await this.#transport.open({
      method: "POST",
      path: `/backup${query(parameters)}`,
      headers: { "content-type": "application/octet-stream" },
      ...("passphrase" in readers && { body: readers.passphrase }),
    });
    size?.(Number(response.headers["content-length"]));
    yield* bodyOf(response);
  }

  restore(backup: AsyncIterable<Buffer>): Promise<RestoredBody> {
    const headers = { "content-type": "application/octet-stream" };
    return this.#json({ method: "POST", path: "/restore", headers, chunks: backup });
  }

  async buildImage(vm: string, request: ImageRequest, take: (piece: Buffer) => void): Promise<void> {
    await this.#transport.take({ method: "POST", path: `${vmPath(vm)}/image`, ...jsonBody(request) }, take);
  }

  auditTail(request: LogRequest): AsyncIterable<Buffer> {
    return this.#text("/audit", request);
  }

  async *auditExport(parameters: TrailQuery): AsyncGenerator<Buffer> {
    const request: Request = { method: "GET", path: `/audit/export${query({ ...parameters })}` };
    for await (const chunk of await this.#transport.open(request)) yield chunk as Buffer;
  }

  auditVerify(): Promise<TrailBody> {
    return this.#json({ method: "GET", path: "/audit/verify", patience: 600_000 });
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

  close(): Promise<void> {
    return this.#transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
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
