import type { IncomingMessage, ServerResponse } from "node:http";
import { BundleTar } from "#bundle/tar";
import { HatchwayError } from "#error";
import { parseClaim, parseReceipt } from "#guest/messages";
import type { Asked, Parts } from "#guest/request";
import { encodeManifest } from "#protocol/manifest";

/** Seconds that a request may wait for a change, at most. */
const MAX_WAIT = 60;
/** Bytes of a request's body, at most. */
const MAX_BODY = 4_096;

/** `GET /v1/bundle?have=REV&wait=SECONDS`: the whole manifest and the values that changed since REV; 304 if nothing did. */
export async function getBundle({ delivery }: Parts, asked: Asked): Promise<void> {
  const { caller, response } = asked;
  const gone = whenGone(response);
  const { have, wait } = bundleQuery(asked.query);
  const bundle = await delivery.next(caller, caller.vmId, have, wait * 1000, gone);
  if (gone.aborted) return;
  if (!bundle) {
    response.writeHead(304).end();
    return;
  }
  const tar = new BundleTar(bundle, bundle.changedSince(have));
  await tar.writeTo((bytes) => {
    if (!response.headersSent) {
      response.writeHead(200, {
        "content-type": "application/x-tar",
        "content-length": tar.size,
        etag: `"${bundle.manifest.revision}"`,
      });
    }
    return write(response, bytes);
  });
  response.end();
}

/** `GET /v1/manifest` */
export async function getManifest({ vault }: Parts, { caller, response }: Asked): Promise<void> {
  const { manifest } = await vault.resolve(caller, caller.vmId);
  const json = encodeManifest(manifest);
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": json.length,
    etag: `"${manifest.revision}"`,
  });
  response.end(json);
}

/** `GET|HEAD /v1/secrets/NAME`. A secret of another VM and one that there is not are the same here: not in the bundle. */
export async function getSecret({ vault }: Parts, { caller, name, request, response }: Asked): Promise<void> {
  const bundle = await vault.resolve(caller, caller.vmId);
  const entry = bundle.manifest.entries.find((candidate) => candidate.name === name);
  if (!entry) throw new HatchwayError("not-found", "not found");
  const etag = `"${bundle.manifest.revision}"`;
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, { etag }).end();
    return;
  }
  const headers = { "content-type": "application/octet-stream", "content-length": entry.size, etag };
  if (request.method === "HEAD") {
    response.writeHead(200, headers).end();
    return;
  }
  const open = await bundle.disclose([entry]);
  const value = await open(entry);
  try {
    response.writeHead(200, headers);
    await end(response, value);
  } finally {
    value.fill(0);
  }
}

/** `POST /v1/claim` */
export async function claim({ vault }: Parts, { caller, request, response }: Asked): Promise<void> {
  const body = await readBody(request);
  const key = parseClaim(body);
  try {
    await vault.claim(caller, key);
  } finally {
    key.fill(0);
    body.fill(0);
  }
  response.writeHead(200, { "content-length": 0 }).end();
}

/** `POST /v1/receipts/REV` */
export async function receive({ delivery }: Parts, { caller, name, request, response }: Asked): Promise<void> {
  const receipt = parseReceipt(await readBody(request));
  await delivery.receive(caller, name, receipt);
  response.writeHead(204).end();
}

const QUERY = /^(?:have=([A-Za-z0-9][A-Za-z0-9._-]{0,95}))?(?:(?:^|&)wait=([0-9]{1,2}))?$/;

function bundleQuery(query: string): { have: string | undefined; wait: number } {
  const parts = QUERY.exec(query);
  const wait = Number(parts?.[2] ?? 0);
  if (!parts || wait > MAX_WAIT || query.startsWith("&")) {
    throw new HatchwayError("invalid", `the query is not have=REVISION&wait=0 to ${MAX_WAIT}`);
  }
  return { have: parts[1], wait };
}

/** Aborted when the guest has gone away, or has its answer. */
function whenGone(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  // Without a reason, abort() makes an exception, which takes as long as half an answer.
  const abort = (): void => gone.abort("the connection ended");
  if (response.closed) abort();
  else response.once("close", abort);
  return gone.signal;
}

/** Resolves when the bytes are out, so that they may be wiped; rejects when the guest has gone away. */
function write(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (cause?: Error): void => reject(new HatchwayError("unavailable", "the guest went away", { cause }));
    if (response.destroyed || bytes.length === 0) {
      if (response.destroyed) gone();
      else resolve();
      return;
    }
    const closed = (): void => gone();
    response.once("close", closed);
    response.write(bytes, (error) => {
      response.off("close", closed);
      if (error) gone(error);
      else resolve();
    });
  });
}

/** As `write`, of the last bytes: they leave together with what is before them. */
function end(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    response.once("close", () => {
      if (response.writableFinished) resolve();
      else reject(new HatchwayError("unavailable", "the guest went away"));
    });
    response.end(bytes);
  });
}

/** The bytes of a request's body, for the caller to wipe. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const length = Number(request.headers["content-length"]);
  if (!(length <= MAX_BODY)) throw new HatchwayError("too-large", `a body has at most ${MAX_BODY} bytes`);
  const body = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunk.copy(body, at);
    chunk.fill(0);
    at += chunk.length;
  }
  if (at !== length) throw new HatchwayError("invalid", "the body ended early");
  return body;
}
