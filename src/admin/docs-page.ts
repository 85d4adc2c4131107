// The API for people who read: one page of HTML made of the OpenAPI document, without scripts and without anything
// that would have to be fetched.

interface Schema {
  $ref?: string;
  type?: string | readonly string[];
  enum?: readonly unknown[];
  format?: string;
  description?: string;
  items?: unknown;
  anyOf?: readonly unknown[];
  properties?: Record<string, unknown>;
  required?: readonly string[];
  minimum?: number;
  maximum?: number;
}

interface Operation {
  summary?: string;
  tags?: readonly string[];
  parameters?: readonly { name: string; in: string; required?: boolean; schema?: unknown; description?: string }[];
  requestBody?: { content: Record<string, { schema?: unknown }> };
  responses: Record<string, { description: string; content?: Record<string, { schema?: unknown }> }>;
}

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
code,h3{font-family:ui-monospace,monospace}h3{margin:2rem 0 .2rem;font-size:1rem}table{border-collapse:collapse}
td,th{text-align:left;vertical-align:top;padding:.15rem 1rem .15rem 0}th{font-weight:600}
p{margin:.2rem 0}h2{border-bottom:1px solid #ccc;margin-top:3rem}
@media (prefers-color-scheme:dark){body{background:#161616;color:#ddd}a{color:#8bf}}`;

/** `document`: OpenAPI 3.1, as `/openapi.json` gives it. */
export function docsPage(document: object): string {
  const { info, paths, components } = document as {
    info: { title: string; version: string };
    paths: Record<string, Record<string, Operation>>;
    components?: { schemas?: Record<string, unknown> };
  };
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ title: `${method.toUpperCase()} ${path}`, operation })),
  );
  const sections = Map.groupBy(operations, ({ operation }) => operation.tags?.[0] ?? "");
  const schemas = Object.entries(components?.schemas ?? {});
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${text(info.title)}</title><style>${STYLE}</style>
<h1>${text(info.title)} ${text(info.version)}</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>
${[...sections].map(([tag, all]) => `<h2>${text(tag)}</h2>${all.map(operationPart).join("")}`).join("\n")}
<h2>Bodies</h2>
${schemas.map(([name, schema]) => `<h3 id="${text(name)}">${text(name)}</h3>${members(schema as Schema)}`).join("\n")}
</html>
`;
}

function operationPart({ title, operation }: { title: string; operation: Operation }): string {
  const { summary = "", parameters = [], requestBody, responses } = operation;
  const rows = parameters.map(({ name, in: place, required, schema, description = "" }) => {
    const shown = `${place}${required === true ? "" : ", optional"}`;
    return `<tr><td><code>${text(name)}</code><td>${text(shown)}<td>${type(schema as Schema)}<td>${text(description)}`;
  });
  const bodies = Object.entries(requestBody?.content ?? {}).map(
    ([media, { schema }]) => `<p>Body <code>${text(media)}</code></p>${members(schema as Schema)}`,
  );
  const answers = Object.entries(responses).map(([code, { description, content = {} }]) => {
    const shown = Object.values(content).map(({ schema }) => type(schema as Schema));
    return `<tr><td>${text(code)}<td>${text(description)}<td>${shown.join(" ")}`;
  });
  return `<h3>${text(title)}</h3><p>${text(summary)}</p>
<table>${rows.join("")}</table>${bodies.join("")}<table>${answers.join("")}</table>`;
}

function members(schema: Schema): string {
  if (!schema.properties) return `<p>${type(schema)}</p>`;
  const rows = Object.entries(schema.properties).map(([name, member]) => {
    const optional = schema.required?.includes(name) === true ? "" : "optional";
    const { description = "" } = member as Schema;
    return `<tr><td><code>${text(name)}</code><td>${type(member as Schema)}<td>${optional}<td>${text(description)}`;
  });
  return `<table>${rows.join("")}</table>`;
}

/** A schema in a few words. */
function type(schema: Schema | undefined): string {
  if (!schema) return "";
  const { $ref, anyOf, items, enum: words, minimum, maximum, format } = schema;
  if ($ref !== undefined) {
    const name = text($ref.slice($ref.lastIndexOf("/") + 1));
    return `<a href="#${name}">${name}</a>`;
  }
  if (anyOf) return [...new Set(anyOf.map((one) => type(one as Schema)))].join(" or ");
  if (words) return words.map((word) => `<code>${text(JSON.stringify(word))}</code>`).join(" or ");
  if (items !== undefined) return `list of ${type(items as Schema)}`;
  if (schema.properties) return `{ ${Object.keys(schema.properties).map(text).join(", ")} }`;
  const range = minimum === undefined && maximum === undefined ? "" : ` ${minimum ?? ""}…${maximum ?? ""}`;
  return text(`${[schema.type ?? "any"].flat().join(" or ")}${format === undefined ? "" : ` (${format})`}${range}`);
}

function text(words: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return words.replaceAll(/[&<>"]/g, (sign) => entities[sign] ?? sign);
}
