import type { IncomingMessage } from "node:http";
import { HatchwayError } from "#error";
import { enrol, getEnrolment } from "#guest/enrol";
import { claim, getBundle, getManifest, getSecret, receive } from "#guest/handlers";
import type { Asked, GuestRequest, Parts } from "#guest/request";
import type { Vault } from "#vault";

type Handler = (parts: Parts, asked: Asked) => Promise<void>;

interface Route {
  method: string;
  /** Matched against the raw path: nothing is decoded or normalised. */
  path: RegExp;
  handler: Handler;
  /** Whether anyone in the guest may call it; else only who has shown that he may fetch. */
  open?: boolean;
}

const ROUTES: readonly Route[] = [
  { method: "GET", path: /^\/v1\/bundle$/, handler: getBundle },
  { method: "GET", path: /^\/v1\/manifest$/, handler: getManifest },
  { method: "GET", path: /^\/v1\/secrets\/([A-Za-z0-9_][A-Za-z0-9._-]{0,99})$/, handler: getSecret },
  { method: "HEAD", path: /^\/v1\/secrets\/([A-Za-z0-9_][A-Za-z0-9._-]{0,99})$/, handler: getSecret },
  { method: "POST", path: /^\/v1\/claim$/, handler: claim, open: true },
  { method: "GET", path: /^\/v1\/enrol$/, handler: getEnrolment, open: true },
  { method: "POST", path: /^\/v1\/enrol$/, handler: enrol, open: true },
  { method: "POST", path: /^\/v1\/receipts\/([A-Za-z0-9][A-Za-z0-9._-]{0,95})$/, handler: receive },
];

export async function route(parts: Parts, asked: GuestRequest): Promise<void> {
  const { request, identity } = asked;
  const url = request.url ?? "";
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? "" : url.slice(mark + 1);
  checkHeaders(request);
  checkBody(request);
  const sameMethod = ROUTES.filter(({ method }) => method === request.method);
  const found = sameMethod.find((candidate) => candidate.path.test(path));
  const { vmId, channel } = identity;
  const caller: Asked["caller"] = { kind: "vm", vmId, channel, proven: await isProven(parts.vault, asked) };
  // Who may not fetch learns nothing, not even which routes there are.
  if (!caller.proven && !found?.open) throw new HatchwayError("unauthenticated", "claim first");
  if (!found || (query !== "" && found.handler !== getBundle)) throw new HatchwayError("not-found", "not found");
  await found.handler(parts, { ...asked, caller, name: found.path.exec(path)?.[1] ?? "", query });
}

const KEY = /^Hatchway ([0-9a-f]{64})$/;

async function isProven(vault: Vault, { identity, request }: GuestRequest): Promise<boolean> {
  const { vmId, channel } = identity;
  const caller = { kind: "vm", vmId, channel, proven: false } as const;
  if (identity.rootOnly && !(await vault.enrols(caller))) return true;
  const header = request.headers.authorization;
  if (header === undefined) return false;
  const key = KEY.exec(header)?.[1];
  if (key === undefined) return false;
  return vault.proves(caller, Buffer.from(key, "hex"));
}

/** A header that is there twice may mean one thing to us and another to who looks on (RFC 9112, section 11.2). */
function checkHeaders({ rawHeaders }: IncomingMessage): void {
  const names = rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
  if (new Set(names).size < names.length) throw new HatchwayError("invalid", "a header is there twice");
}

/** Only a POST has a body, of a stated length; that keeps every question of where a request ends out. */
function checkBody({ method, headers }: IncomingMessage): void {
  const length = headers["content-length"];
  if (headers["transfer-encoding"] !== undefined) throw new HatchwayError("invalid", "a body must state its length");
  if (method === "POST" ? length === undefined : length !== undefined && length !== "0") {
    throw new HatchwayError("invalid", method === "POST" ? "a body must state its length" : "no body is expected");
  }
}
