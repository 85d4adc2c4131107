import type { ClientRequest } from "node:http";

/** What a client asks of a daemon. */
export interface Request {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query. */
  path: string;
  headers?: Readonly<Record<string, string>>;
  /** Stays the caller's, who wipes it. */
  body?: Buffer;
  /** A body of unknown length instead; who gives a chunk may wipe it when the next is asked for. */
  chunks?: AsyncIterable<Buffer>;
  /** Milliseconds in which the daemon has to begin its answer, and to go on with it; 0: for ever. */
  patience?: number;
}

/** Milliseconds. */
export const DEFAULT_PATIENCE = 60_000;

/** Sends the body. What goes wrong with it destroys the request, whose "error" says what it was. */
export function sendBody(outgoing: ClientRequest, { body, chunks }: Request): void {
  if (!chunks) {
    outgoing.end(body);
    return;
  }
  void (async () => {
    try {
      for await (const chunk of chunks) {
        await new Promise<void>((resolve, reject) => {
          outgoing.write(chunk, (error) => (error ? reject(error) : resolve()));
        });
      }
      outgoing.end();
    } catch (error) {
      outgoing.destroy(error as Error);
    }
  })();
}
