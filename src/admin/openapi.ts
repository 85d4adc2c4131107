import { z } from "@hono/zod-openapi";
import { refusal } from "#admin/answers";
import type { Description } from "#admin/descriptions";
import { docsPage } from "#admin/docs-page";
import type { Api, Route } from "#admin/route";
import { HatchwayError, httpStatus, type ErrorCode } from "#error";

/** What any request may be answered. */
const ALWAYS: readonly ErrorCode[] = [
  "invalid",
  "unauthenticated",
  "forbidden",
  "rate-limited",
  "internal",
  "unavailable",
];

/**
 * Describes a table at `/openapi.json` (OpenAPI 3.1), from the schemas that check its requests, and as a page for people
 * at `/docs`. Throws "internal" for a route without a description.
 */
export function describeApi<Parts>(
  api: Api,
  routes: readonly Route<Parts>[],
  descriptions: Readonly<Record<string, Description>>,
  info: { title: string; version: string },
): void {
  const bearer = api.openAPIRegistry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer" });
  for (const { method, path, takes } of routes) {
    const description = descriptions[`${method} ${path}`];
    if (!description) throw new HatchwayError("internal", `the route ${method} ${path} is not described`);
    const parts = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, z.string()] as const);
    const content =
      takes.value === "body" || takes.value === "chunks"
        ? BYTES
        : takes.json && { "application/json": { schema: takes.json.schema } };
    const [, tag = ""] = path.split("/");
    api.openAPIRegistry.registerPath({
      method: method.toLowerCase() as Lowercase<typeof method>,
      path,
      summary: description.summary,
      operationId: operationId(method, path),
      tags: [tag],
      // A unix socket says who asks by itself.
      security: [{ [bearer.name]: [] }, {}],
      request: {
        ...(parts.length > 0 && { params: z.object(Object.fromEntries(parts)) }),
        ...(takes.query instanceof z.ZodObject && { query: takes.query }),
        ...(description.headers && { headers: description.headers }),
        ...(content && { body: { content, required: takes.value !== undefined } }),
      },
      responses: responsesOf(description),
    });
  }
  const openapi = { openapi: "3.1.0", info };
  api.doc31("/openapi.json", openapi);
  api.get("/docs", (context) => {
    // Nothing is fetched and nothing runs.
    context.header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'");
    return context.html(docsPage(api.getOpenAPI31Document(openapi)));
  });
}

const BYTES = { "application/octet-stream": { schema: z.string().openapi({ format: "binary" }) } };

function operationId(method: string, path: string): string {
  const words = path.split(/[/{}]+/).filter((word) => word !== "");
  return [method.toLowerCase(), ...words.map((word) => `${word[0]?.toUpperCase()}${word.slice(1)}`)].join("");
}

type Responses = Record<string, { description: string; content?: Record<string, { schema: z.ZodType }> }>;

function contentOf(answer: NonNullable<Description["answer"]>): Record<string, { schema: z.ZodType }> {
  if (answer === "text") return { "text/plain": { schema: z.string() } };
  if (answer === "bytes") return BYTES;
  return { "application/json": { schema: answer } };
}

function responsesOf({ status, also, answer, refusals }: Description): Responses {
  const body = answer && { content: contentOf(answer) };
  const responses: Responses = { [status]: { description: status === 201 ? "created" : "done", ...body } };
  if (also !== undefined) responses[also] = { description: "created", ...body };
  for (const [code, codes] of Map.groupBy([...ALWAYS, ...refusals], (one) => httpStatus[one])) {
    responses[code] = { description: codes.join(" or "), content: { "application/json": { schema: refusal } } };
  }
  return responses;
}
