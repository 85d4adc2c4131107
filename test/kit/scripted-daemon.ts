// An HTTP server on a unix socket that answers each route as the test says and keeps what it was asked: the other end
// for tests of the client and of what the CLI prints. What the real daemon does is tested with the real daemon.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Asked {
  method: string;
  /** With its query. */
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** Status and body; a body that is no Buffer goes out as JSON. */
export type Scripted = readonly [status: number, body?: unknown];

export interface ScriptedDaemon extends AsyncDisposable {
  socket: string;
  uri: string;
  asked: Asked[];
}

/** Keys are `METHOD /path`, without a query. What is not there answers 404. */
export async function scriptDaemon(
  routes: Record<string, Scripted | ((asked: Asked) => Scripted)>,
): Promise<ScriptedDaemon> {
  const folder = mkdtempSync(join(tmpdir(), "hatchway-scripted-"));
  const socket = join(folder, "admin.sock");
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const one: Asked = { method, path: url, headers, body: Buffer.concat(chunks) };
      asked.push(one);
      const route = routes[`${method} ${url.split("?")[0]}`] ?? [404, { error: `no route ${url}`, code: "not-found" }];
      const [status, body] = typeof route === "function" ? route(one) : route;
      response.writeHead(status);
      response.end(body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => void server.listen(socket, resolve));
  return {
    socket,
    uri: `unix://${socket}`,
    asked,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => void server.close(resolve));
      rmSync(folder, { recursive: true });
    },
  };
}
