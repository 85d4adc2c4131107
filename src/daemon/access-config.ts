// The settings that say who gets in, by which address, and what he may do there.
import type { TokenFile } from "#admin/tokens";
import { join } from "node:path";
import { addressProblem, parseAddress, type GuestAddress, type ListenAddress } from "#daemon/listen";
import type { Setting } from "#daemon/settings";
import { vmNameProblem } from "#protocol/names";
import { ROLES, type Holder, type RoleGrant } from "#role";

export function readToken(id: string, setting: Setting): TokenFile {
  const problem = vmNameProblem(id);
  if (problem !== undefined) throw setting.wrong("is not a token's name: 1 to 63 of A-Z a-z 0-9 . _ -");
  return { id, path: setting.text(pathProblem) };
}

const PATTERN = /^[A-Za-z0-9._*-]{1,100}$/;

/** A role, the one who has it, and over what. */
export function readRole(setting: Setting, tokens: readonly TokenFile[]): RoleGrant {
  const { role, secrets, vms, ...who } = setting.fields("role", "secrets", "vms", "uid", "gid", "token", "certificate");
  if (!role) throw setting.wrong(`has no role: ${ROLES.join(", ")}`);
  return {
    role: role.word(...ROLES),
    holder: readHolder(setting, who, tokens),
    secrets: readPattern(secrets),
    vms: readPattern(vms),
  };
}

function readPattern(setting: Setting | undefined): string {
  if (!setting) return "*";
  return setting.text((text) => (PATTERN.test(text) ? undefined : "is not a pattern: A-Z a-z 0-9 . _ - and *"));
}

function readHolder(
  setting: Setting,
  who: Partial<Record<"uid" | "gid" | "token" | "certificate", Setting>>,
  tokens: readonly TokenFile[],
): Holder {
  if (Object.keys(who).length !== 1) throw setting.wrong("is of one uid, gid, token or certificate");
  const { uid, gid, token, certificate } = who;
  if (uid) return { kind: "uid", uid: uid.integer(0, 4_294_967_294) };
  if (gid) return { kind: "gid", gid: gid.integer(0, 4_294_967_294) };
  if (token) {
    const id = token.text((text) => (tokens.some((one) => one.id === text) ? undefined : "is not among the tokens"));
    return { kind: "token", id };
  }
  return { kind: "certificate", name: certificate?.text() ?? "" };
}

/** An address alone, or with the files of TLS. */
export function readListen(setting: Setting, hasTokens: boolean): ListenAddress {
  const said = setting.isText
    ? { address: setting }
    : setting.fields("address", "certificate", "key", "clients", "revoked");
  const { address, certificate, key, clients, revoked } = said;
  const at = parseAddress(address?.text() ?? "");
  if (!at) throw (address ?? setting).wrong('is not an address and a port, such as "127.0.0.1:8080"');
  for (const part of [key, clients]) if (part && !certificate) throw part.wrong("is of TLS, which needs a certificate");
  if (revoked && !clients) throw revoked.wrong("is of client certificates, which need their authority: clients");
  const tls = certificate && {
    certificate: certificate.text(pathProblem),
    ...(key && { key: key.text(pathProblem) }),
    ...(clients && { clients: clients.text(pathProblem) }),
    ...(revoked && { revoked: revoked.text(pathProblem) }),
  };
  const listen = { ...at, ...(tls && { tls }) };
  const problem = addressProblem(listen, hasTokens);
  if (problem !== undefined) throw setting.wrong(problem);
  return listen;
}

/** An address alone, with what `hatchway pki` has made in `pki`, or with the files of TLS. */
export function readGuestListen(setting: Setting, pki: string): GuestAddress {
  const said = setting.isText
    ? { address: setting }
    : setting.fields("address", "certificate", "key", "clients", "revoked");
  const { address, certificate, key, clients, revoked } = said;
  const at = parseAddress(address?.text() ?? "");
  if (!at) throw (address ?? setting).wrong('is not an address and a port, such as "0.0.0.0:5107"');
  // A list goes with its authority: another authority has another one, or none.
  const ownList = clients ? undefined : join(pki, "crl.pem");
  const list = revoked?.text(pathProblem) ?? ownList;
  return {
    ...at,
    tls: {
      certificate: certificate?.text(pathProblem) ?? join(pki, "server", "guests.pem"),
      ...(key && { key: key.text(pathProblem) }),
      clients: clients?.text(pathProblem) ?? join(pki, "ca.crt"),
      ...(list !== undefined && { revoked: list }),
    },
  };
}

export function pathProblem(text: string): string | undefined {
  return text.startsWith("/") ? undefined : "is not an absolute path";
}
