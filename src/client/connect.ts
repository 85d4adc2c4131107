// The client over HTTP: what each of its methods asks the daemon for.
import type {
  CanBody,
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
  UnsealQuery,
  UnsealedBody,
  VersionBody,
  WayBody,
  WayQuery,
  WhoamiBody,
} from "#api";
import type { PushRequest } from "#api-vm";
import type {
  ArgumentsBody,
  AttachRequest,
  ChannelsBody,
  GrantBody,
  ImageRequest,
  TokenRequest,
  VmBody,
  VmRequestBody,
  WiringQuery,
} from "#api-vm";
import { REVISION_HEADER } from "#api-vm";
import type { BackupContents, BackupReaders } from "#backup";
import type { Request } from "./request.ts";
import type { Verb } from "#role";
import { bodyOf, Transport } from "./transport.ts";
import { parseTarget, type CredentialFiles } from "./uri.ts";
import type { Client, LogRequest, MetadataBody, Wait } from "./client.ts";
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

  async observeVm(name: string, pid: number): Promise<VmBody> {
    return this.#json({ method: "POST", path: `${vmPath(name)}/process`, ...jsonBody({ pid }) });
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

  async vmArguments(name: string, wanted: WiringQuery): Promise<ArgumentsBody> {
    return this.#json({ method: "GET", path: `${vmPath(name)}/arguments${query({ ...wanted })}` });
  }

  async vmChannels(name: string, wanted: WiringQuery): Promise<ChannelsBody> {
    return this.#json({ method: "GET", path: `${vmPath(name)}/channels${query({ ...wanted })}` });
  }

  async mintToken(vm: string, request: TokenRequest, take: (piece: Buffer) => void): Promise<void> {
    await this.#transport.take({ method: "POST", path: `${vmPath(vm)}/token`, ...jsonBody(request) }, take);
  }

  async buildImage(
    vm: string,
    request: ImageRequest,
    take: (piece: Buffer) => void,
  ): Promise<{ revision: string } | undefined> {
    const { wait } = request;
    const { status, headers } = await this.#transport.take(
      {
        method: "POST",
        path: `${vmPath(vm)}/image`,
        ...jsonBody(request),
        ...patience(wait === undefined ? undefined : wait * 1000),
      },
      take,
    );
    return status === 204 ? undefined : { revision: String(headers[REVISION_HEADER] ?? "") };
  }

  async recordPush(vm: string, request: PushRequest): Promise<VmBody> {
    return this.#json({ method: "POST", path: `${vmPath(vm)}/push`, ...jsonBody(request) });
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
