import { z } from "@hono/zod-openapi";
import type { Api, Route } from "#admin/route";

/** Describes a table at `/openapi.json`, from the schemas that check its requests. */
export function describeApi<Parts>(api: Api, routes: readonly Route<Parts>[], title: string): void {
  for (const { method, path, takes } of routes) {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, z.string()] as const);
    const content =
      takes.value === "body"
        ? { "application/octet-stream": { schema: z.string().openapi({ format: "binary" }) } }
        : takes.json && { "application/json": { schema: takes.json.schema } };
    api.openAPIRegistry.registerPath({
      method: method.toLowerCase() as Lowercase<typeof method>,
      path,
      request: {
        params: z.object(Object.fromEntries(names)),
        ...(takes.query instanceof z.ZodObject && { query: takes.query }),
        ...(content && { body: { content } }),
      },
      responses: { default: { description: "as src/api.ts says; a refusal is {error, code, hint?}" } },
    });
  }
  api.doc31("/openapi.json", { openapi: "3.1.0", info: { title, version: "1" } });
}
