// One generic function between HTTP and an action: it reads the request, says who asks, maps errors and encodes the
// answer. A table of routes (app.ts, runner.ts) is all that is left to say.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { OpenAPIHono, type z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { readBody } from "#admin/body";
import { chunksOf } from "#admin/chunks";
import { quoted, readJson } from "#admin/json-value";
import { refuse, type Refusal } from "#admin/refusal";
import { read, type Form } from "#admin/schemas";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { MAX_VALUE_SIZE } from "#protocol/names";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** What an action is asked. */
export interface Ask<Query, Json> {
  caller: Caller;
  /** A name out of the path. */
  name: (part: string) => string;
  query: Query;
  json: Json;
  /** The value that the request brings, wiped when the action is done. */
  value: Buffer | undefined;
  /** The body as it comes, of a route that takes "chunks". */
  chunks: () => AsyncIterable<Buffer>;
  headers: IncomingHttpHeaders;
  /** For an answer that is written as bytes. */
  outgoing: ServerResponse;
  /** Aborted when the client is gone, or has its answer. */
  signal: AbortSignal;
}

export type Answer =
  | { status: 200 | 201; json: unknown }
  | { status: 200; text: string | AsyncIterable<string> }
  | { status: 204 }
  /** The action wrote the answer itself. */
  | { status: "sent" };

export const ok = (json: unknown): Answer => ({ status: 200, json });
export const created = (json: unknown): Answer => ({ status: 201, json });
export const nothing: Answer = { status: 204 };

/** What a request may bring. */
export interface Takes<Query, Json> {
  query?: z.ZodType<Query>;
  json?: Form<Json>;
  /** Where a value comes: as the member `data` of the JSON, as the body itself, or as a body of any length. */
  value?: "data" | "body" | "chunks";
}

export interface Route<Parts> {
  method: Method;
  /** `{part}` stands for a name. */
  path: string;
  takes: Takes<unknown, unknown>;
  act(parts: Parts, ask: Ask<unknown, unknown>): Promise<Answer>;
}

/** One line of a table. What it takes and what its action is asked fit together, which the table need not know. */
export function route<Parts, Query = undefined, Json = undefined>(
  method: Method,
  path: string,
  takes: Takes<Query, Json>,
  act: (parts: Parts, ask: Ask<Query, Json>) => Promise<Answer>,
): Route<Parts> {
  return { method, path, takes, act };
}

/** What comes along with each request from the connection that it came by. */
export interface Connection {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
  caller: Caller;
}

export type Api = OpenAPIHono<{ Bindings: Connection }>;

/** The API of a table; an unknown path is 404, a known one with another method 405. */
export function apiOf<Parts>(routes: readonly Route<Parts>[], parts: Parts, report: (line: string) => void): Api {
  const api: Api = new OpenAPIHono();
  for (const line of routes) {
    api.on(line.method, honoPath(line.path), async (context) => {
      const { outgoing } = context.env;
      try {
        return encode(await perform(line, parts, context), outgoing);
      } catch (thrown) {
        const refusal = refuse(thrown, report);
        if (!outgoing.headersSent) return refusalAnswer(refusal);
        // Too late for an answer: only a connection that breaks off says that it is not whole.
        outgoing.destroy();
        return RESPONSE_ALREADY_SENT;
      }
    });
  }
  for (const [path, methods] of Map.groupBy(routes, (line) => line.path)) {
    const allow = methods.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
    api.all(honoPath(path), (context) => {
      const error = `${context.req.method} is not a method of this path: ${allow} are`;
      return refusalAnswer({ status: 405, body: { error, code: "invalid" } }, { allow });
    });
  }
  api.notFound((context) => {
    return refusalAnswer(
      refuse(new HatchwayError("not-found", `there is nothing at ${quoted(context.req.path)}`), report),
    );
  });
  api.onError((thrown) => refusalAnswer(refuse(thrown, report)));
  return api;
}

function refusalAnswer({ status, body }: Refusal, headers: Record<string, string> = {}): Response {
  return Response.json(body, { status, headers });
}

function honoPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ":$1");
}

async function perform<Parts>(
  line: Route<Parts>,
  parts: Parts,
  context: Context<{ Bindings: Connection }>,
): Promise<Answer> {
  const { incoming, outgoing, caller } = context.env;
  const query = readQuery(new URL(context.req.url).searchParams, line.takes.query);
  using input = await readInput(incoming, line.takes);
  const gone = new AbortController();
  // Without a reason, abort() makes an exception.
  outgoing.once("close", () => gone.abort("the connection ended"));
  return await line.act(parts, {
    caller,
    name: (part) => partOf(context.req.param(part), part),
    query,
    json: input.json,
    value: input.value,
    chunks: () => chunksOf(incoming),
    headers: incoming.headers,
    outgoing,
    signal: gone.signal,
  });
}

function partOf(name: string | undefined, part: string): string {
  if (name === undefined) throw new HatchwayError("internal", `the route has no part ${part}`);
  return name;
}

function readQuery(given: URLSearchParams, schema: z.ZodType | undefined): unknown {
  const query: Record<string, string> = {};
  for (const [key, value] of given) {
    if (Object.hasOwn(query, key) || key === "__proto__") {
      throw new HatchwayError("invalid", `the query parameter ${quoted(key)} is there twice`);
    }
    query[key] = value;
  }
  if (schema) return read(schema, query, "query parameter");
  const [key] = Object.keys(query);
  if (key === undefined) return undefined;
  throw new HatchwayError("invalid", `unknown query parameter ${quoted(key)}`);
}

/** Room for what is in a body besides the value. */
const MAX_JSON = 65_536;
const MAX_LISTS = 1_048_576;
const MAX_BASE64 = 4 * Math.ceil(MAX_VALUE_SIZE / 3);

interface Input extends Disposable {
  json: unknown;
  value: Buffer | undefined;
}

/** Reads what the route takes; disposing wipes it. */
async function readInput(
  incoming: IncomingMessage,
  { json: form, value: place }: Takes<unknown, unknown>,
): Promise<Input> {
  if (place === "body") {
    const body = await readBody(incoming, MAX_VALUE_SIZE);
    return { json: undefined, value: body.bytes, [Symbol.dispose]: () => body[Symbol.dispose]() };
  }
  if (!form) return { json: undefined, value: undefined, [Symbol.dispose]: () => undefined };
  using body = await readBody(incoming, place === "data" ? MAX_BASE64 + MAX_JSON : MAX_LISTS);
  const { json, value } = readJson(body.bytes.length === 0 ? EMPTY : body.bytes, form.keys, place === "data");
  try {
    if (value && value.length > MAX_VALUE_SIZE) {
      throw new HatchwayError("too-large", `a value of ${value.length} bytes, more than ${MAX_VALUE_SIZE}`);
    }
    return { json: read(form.schema, json, "key"), value, [Symbol.dispose]: () => value?.fill(0) };
  } catch (thrown) {
    value?.fill(0);
    throw thrown;
  }
}

/** A request without a body says nothing, as `{}` does. */
const EMPTY = Buffer.from("{}");

function encode(answer: Answer, outgoing: ServerResponse): Response {
  if (answer.status === "sent") return RESPONSE_ALREADY_SENT;
  if (answer.status === 204) return new Response(null, { status: 204 });
  if ("json" in answer) return Response.json(answer.json, { status: answer.status });
  const headers = { "content-type": "text/plain; charset=utf-8" };
  const body = typeof answer.text === "string" ? answer.text : streamOf(answer.text, outgoing);
  return new Response(body, { status: answer.status, headers });
}

/** Nothing is asked of `pieces` before the client wants it. */
function streamOf(pieces: AsyncIterable<string>, outgoing: ServerResponse): ReadableStream<Uint8Array> {
  const iterator = pieces[Symbol.asyncIterator]();
  const utf8 = new TextEncoder();
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    const { done, value } = await iterator.next();
    if (done === true || outgoing.destroyed) controller.close();
    else controller.enqueue(utf8.encode(value));
  };
  const cancel = async (): Promise<void> => {
    await iterator.return?.();
  };
  return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
}
