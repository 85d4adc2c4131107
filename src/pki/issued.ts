// What an authority has issued: `issued.json` in its folder. Times are RFC 3339.
//
//   {"format":1,"crl":N,"certificates":[{"kind","name","serial","hosts"?,"vm_id"?,"host"?,"not_before","not_after",
//                                        "revoked_at"?}]}
import { HatchwayError } from "#error";
import { hostProblem } from "#keygen/certificate";
import { vmNameProblem } from "#protocol/names";

/** For whom: the daemon's own, who administrates over a network, or a VM. */
export const KINDS = ["server", "client", "guest"] as const;
export type Kind = (typeof KINDS)[number];

export interface Issued {
  kind: Kind;
  /** One of a kind has a name at a time. */
  name: string;
  /** Hex in capitals, as Node shows it. */
  serial: string;
  /** Of a server: names and addresses. */
  hosts?: readonly string[];
  /** Of a guest: the id of its VM. */
  vmId?: string;
  /** Of a guest: where its host listens, HOST:PORT; written at the head of its file. */
  host?: string;
  /** Milliseconds since 1970, as are all. */
  notBefore: number;
  notAfter: number;
  revokedAt?: number;
}

/** Replaced: there is a newer one of its name, and it is still good. */
export type State = "valid" | "replaced" | "expired" | "revoked";

export interface Register {
  /** The number of the newest revocation list. */
  crl: number;
  /** In the order in which they were issued. */
  certificates: readonly Issued[];
}

export function stateOf(one: Issued, { certificates }: Register, now: number): State {
  if (one.revokedAt !== undefined) return "revoked";
  if (one.notAfter <= now) return "expired";
  return newest(certificates, one) === one ? "valid" : "replaced";
}

/** The last one issued of a kind and name. */
export function newest(
  certificates: readonly Issued[],
  { kind, name }: Pick<Issued, "kind" | "name">,
): Issued | undefined {
  return certificates.findLast((other) => other.kind === kind && other.name === name);
}

const CLIENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/;

/** What a certificate is for. */
export type Bearer = Pick<Issued, "kind" | "name" | "hosts" | "vmId" | "host">;

const VM_ID = /^[0-9a-f]{32}$/;
const HOST_AND_PORT = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):[1-9][0-9]{0,4}$/;

/** Worded to follow the quoted id. */
export function vmIdProblem(id: string): string | undefined {
  return VM_ID.test(id) ? undefined : "is not a vm's id: 32 characters of 0-9 a-f, as vm show --json says it";
}

/** Worded to follow the quoted text. */
export function hostAndPortProblem(text: string): string | undefined {
  if (HOST_AND_PORT.test(text) && Number(/[0-9]+$/.exec(text)?.[0]) <= 65_535) return undefined;
  return 'is not a host and a port, such as "192.0.2.7:5107" or "[2001:db8::7]:5107"';
}

/** Worded to follow the quoted name. */
export function bearerProblem(kind: Kind, name: string): string | undefined {
  if (kind === "guest") return vmNameProblem(name);
  if (CLIENT_NAME.test(name)) return undefined;
  return `is not a ${kind}'s name: 1 to 63 of A-Z a-z 0-9 . _ @ -, the first a letter or digit`;
}

export function encodeRegister({ crl, certificates }: Register): Buffer {
  const rows = certificates.map(({ kind, name, serial, hosts, vmId, host, notBefore, notAfter, revokedAt }) => ({
    kind,
    name,
    serial,
    ...(hosts && { hosts }),
    ...(vmId !== undefined && { vm_id: vmId }),
    ...(host !== undefined && { host }),
    not_before: new Date(notBefore).toISOString(),
    not_after: new Date(notAfter).toISOString(),
    ...(revokedAt !== undefined && { revoked_at: new Date(revokedAt).toISOString() }),
  }));
  return Buffer.from(`${JSON.stringify({ format: 1, crl, certificates: rows }, null, 1)}\n`);
}

/** Throws "corrupt" for what `encodeRegister` would not have written. */
export function decodeRegister(path: string, bytes: Buffer): Register {
  try {
    const { format, crl, certificates } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    if (format !== 1 || !Number.isSafeInteger(crl) || !Array.isArray(certificates)) throw new RangeError("other keys");
    return { crl: crl as number, certificates: certificates.map(decodeRow) };
  } catch (cause) {
    throw new HatchwayError("corrupt", `"${path}" is not what hatchway wrote there`, {
      hint: "put it back from a backup: without it nothing can be renewed or revoked",
      cause,
    });
  }
}

function decodeRow(row: Record<string, unknown>): Issued {
  const { kind, name, serial, hosts, vm_id, host, not_before, not_after, revoked_at } = row;
  const known = KINDS.find((one) => one === kind);
  if (!known || typeof name !== "string" || bearerProblem(known, name) !== undefined) throw new RangeError("no name");
  if (typeof serial !== "string" || !/^(?:[0-9A-F]{2})+$/.test(serial)) throw new RangeError("no serial number");
  return {
    kind: known,
    name,
    serial,
    ...(hosts !== undefined && { hosts: decodeHosts(hosts) }),
    ...(vm_id !== undefined && { vmId: decodeText(vm_id, vmIdProblem) }),
    ...(host !== undefined && { host: decodeText(host, hostAndPortProblem) }),
    notBefore: decodeTime(not_before),
    notAfter: decodeTime(not_after),
    ...(revoked_at !== undefined && { revokedAt: decodeTime(revoked_at) }),
  };
}

function decodeHosts(hosts: unknown): string[] {
  const names: unknown[] = Array.isArray(hosts) ? hosts : [];
  const good = names.filter((host): host is string => typeof host === "string" && hostProblem(host) === undefined);
  if (good.length === 0 || good.length !== names.length) throw new RangeError("no hosts");
  return good;
}

function decodeText(text: unknown, problemOf: (text: string) => string | undefined): string {
  if (typeof text === "string" && problemOf(text) === undefined) return text;
  throw new RangeError("not what belongs there");
}

function decodeTime(text: unknown): number {
  const time = typeof text === "string" ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new RangeError("no time");
  return time;
}
