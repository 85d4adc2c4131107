import { createServer, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { refuse } from "#admin/refusal";
import type { Api, Connection } from "#admin/route";
import { readTarget } from "#admin/target";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { OneAtATime } from "#pipelining";
import { descriptorOf, peerCredentials } from "#host/peer";

/** Limits of a server: what a client that is slow, or many, can take up. Times are milliseconds. */
const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  /** Until the request is in, its body included; an answer may take as long as it waits for something. */
  requestTimeout: 120_000,
  keepAliveTimeout: 30_000,
  connectionsCheckingInterval: 5_000,
};
const MAX_CONNECTIONS = 256;

/**
 * The server of an API; whoever calls it makes it listen. `callerOf` is asked once for each connection, when it is
 * made; what it throws is the answer to each request of that connection.
 */
export function serveApi(api: Api, callerOf: (socket: Socket) => Caller, report: (line: string) => void): Server {
  const callers = new WeakMap<Socket, () => Caller>();
  const oneAtATime = new OneAtATime();
  const server = createServer(LIMITS, (incoming, outgoing) => {
    if (!oneAtATime.admits(incoming, outgoing)) return;
    let connection: Connection;
    try {
      incoming.url = readTarget(incoming.url ?? "");
      const caller = callers.get(incoming.socket)?.();
      if (!caller) throw new HatchwayError("internal", "a connection that was not seen to be made");
      connection = { incoming, outgoing, caller };
    } catch (thrown) {
      answerRefusal(thrown, outgoing, report);
      return;
    }
    const options = { overrideGlobalObjects: false };
    void getRequestListener((request) => api.fetch(request, connection), options)(incoming, outgoing);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket: Socket) => {
    const caller = remembered(() => callerOf(socket));
    callers.set(socket, caller);
  });
  return server;
}

/** Calls `make` now; its result, or what it threw, is what the function gives. */
function remembered<T>(make: () => T): () => T {
  try {
    const value = make();
    return () => value;
  } catch (thrown) {
    return () => {
      throw thrown;
    };
  }
}

function answerRefusal(thrown: unknown, outgoing: ServerResponse, report: (line: string) => void): void {
  const { status, body } = refuse(thrown, report);
  outgoing.writeHead(status, { "content-type": "application/json", connection: "close" });
  outgoing.end(JSON.stringify(body));
}

/** The process at the other end of a unix socket, as the kernel names it. */
export function unixCaller(socket: Socket): Caller {
  return { kind: "unix", ...peerCredentials(descriptorOf(socket)) };
}
