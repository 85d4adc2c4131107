// Requests to a unix socket, as clients send them and as none should.
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { connect } from "node:net";

export interface Reply {
  status: number;
  headers: IncomingMessage["headers"];
  text: string;
}

/** One request over a connection of its own. `path` goes out as it is. */
export async function call(
  socketPath: string,
  method: string,
  path: string,
  body?: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const outgoing = request({ socketPath, method, path, headers, agent: false });
  outgoing.end(body);
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, text: Buffer.concat(chunks).toString() };
}

/** Writes `bytes` as they are; gives all that comes back until the server closes, or the first answer ends. */
export async function raw(socketPath: string, bytes: string): Promise<{ status: number; text: string }> {
  const socket = connect(socketPath);
  socket.end(bytes);
  let text = "";
  for await (const chunk of socket) text += (chunk as Buffer).toString("latin1");
  return { status: Number(/^HTTP\/1\.1 ([0-9]{3})/.exec(text)?.[1] ?? 0), text };
}
