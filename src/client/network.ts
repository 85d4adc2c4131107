// Requests over TCP, with a bearer token, and over TLS, with a token or a client certificate.
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { HatchwayError } from "#error";
import { readPrivateFile } from "#host/files";
import { DEFAULT_PATIENCE, sendBody, type Request } from "./request.ts";
import type { CredentialFiles, NetworkTarget } from "./uri.ts";

/** The answer of the daemon at `target`. Throws "unavailable" where none answers. */
export async function networkExchange(target: NetworkTarget, request: Request): Promise<IncomingMessage> {
  const { host, port, secure, files } = target;
  const length = request.body === undefined ? {} : { "content-length": String(request.body.length) };
  const options: RequestOptions = {
    host,
    port,
    method: request.method,
    path: request.path,
    headers: { ...length, ...request.headers, ...(await authorization(files)) },
    agent: false,
  };
  const outgoing = await start(secure, options, files);
  const patience = request.patience ?? DEFAULT_PATIENCE;
  outgoing.setTimeout(patience, () => {
    const seconds = Math.round(patience / 1000);
    outgoing.destroy(new HatchwayError("timeout", `the daemon at ${host}:${port} said nothing for ${seconds} s`));
  });
  return new Promise((resolve, reject) => {
    outgoing.on("response", resolve);
    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      reject(error.name === "HatchwayError" ? error : connectionError(target, error));
    });
    sendBody(outgoing, request);
  });
}

async function start(secure: boolean, options: RequestOptions, files: CredentialFiles): Promise<ClientRequest> {
  if (!secure) return (await import("node:http")).request(options);
  const { readFile } = await import("node:fs/promises");
  const { cert, key, ca } = files;
  if (cert === undefined && key !== undefined) {
    throw new HatchwayError("invalid", "a client certificate and its key belong together", {
      hint: "set HATCHWAY_CERT_FILE too",
    });
  }
  // Where no other file is named, the certificate's has the key too.
  const keyFile = key ?? cert;
  const { request } = await import("node:https");
  return request({
    ...options,
    minVersion: "TLSv1.3",
    ...(cert !== undefined && { cert: await readFile(cert) }),
    ...(keyFile !== undefined && { key: await privateFile(keyFile, "key") }),
    ...(ca !== undefined && { ca: await readFile(ca) }),
  });
}

async function authorization({ token }: CredentialFiles): Promise<Record<string, string>> {
  if (token === undefined) return {};
  const bytes = await privateFile(token, "token");
  const text = bytes.toString("latin1").trim();
  bytes.fill(0);
  if (/^[\x21-\x7e]+$/.test(text)) return { authorization: `Bearer ${text}` };
  throw new HatchwayError("invalid", `"${token}" is not a file with one token`);
}

async function privateFile(path: string, what: string): Promise<Buffer> {
  const bytes = await readPrivateFile(path, 65_536);
  if (bytes) return bytes;
  throw new HatchwayError("not-found", `there is no ${what} file "${path}"`);
}

function connectionError({ host, port, secure }: NetworkTarget, cause: NodeJS.ErrnoException): HatchwayError {
  const why = cause.code ?? cause.message;
  const hint = secure && why !== "ECONNREFUSED" ? "see that the certificates are right and not expired" : undefined;
  return new HatchwayError("unavailable", `the daemon at ${host}:${port} cannot be reached: ${why}`, {
    cause,
    ...(hint !== undefined && { hint }),
  });
}
