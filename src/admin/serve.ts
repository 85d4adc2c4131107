import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import { getRequestListener } from "@hono/node-server";
import { refuse } from "#admin/refusal";
import type { Api } from "#admin/route";
import { readTarget } from "#admin/target";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { OneAtATime } from "#pipelining";
import { descriptorOf, peerCredentials, peerGroups } from "#host/peer";

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

/** Says who makes a request; what it throws is the answer. */
export type Door = (incoming: IncomingMessage) => Caller | Promise<Caller>;

type Report = (line: string) => void;

/**
 * The server of an API; whoever calls it makes it listen. `callerOf` is asked once for each connection, when it is
 * made; what it throws is the answer to each request of that connection.
 */
export function serveApi(api: Api, callerOf: (socket: Socket) => Caller, report: Report): Server {
  const callers = new WeakMap<Socket, () => Caller>();
  const door: Door = ({ socket }) => {
    const caller = callers.get(socket)?.();
    if (caller) return caller;
    throw new HatchwayError("internal", "a connection that was not seen to be made");
  };
  const server = createServer(LIMITS, listener(api, door, report));
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket: Socket) => {
    const caller = remembered(() => callerOf(socket));
    callers.set(socket, caller);
  });
  return server;
}

/** The server of an API on a network, over TLS where there is what it needs; each request says who makes it. */
export function serveNetwork(api: Api, door: Door, tls: TlsOptions | undefined, report: Report): Server | TlsServer {
  const listen = listener(api, door, report);
  const server = tls ? createTlsServer({ ...LIMITS, ...tls }, listen) : createServer(LIMITS, listen);
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

function listener(api: Api, door: Door, report: Report): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const oneAtATime = new OneAtATime();
  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    let caller: Caller;
    try {
      checkHost(incoming);
      incoming.url = readTarget(incoming.url ?? "");
      const said = door(incoming);
      caller = said instanceof Promise ? await said : said;
    } catch (thrown) {
      answerRefusal(thrown, outgoing, report);
      return;
    }
    const options = { overrideGlobalObjects: false };
    await getRequestListener((request) => api.fetch(request, { incoming, outgoing, caller }), options)(
      incoming,
      outgoing,
    );
  };
  return (incoming, outgoing) => oneAtATime.admit(incoming, outgoing, () => void serve(incoming, outgoing));
}

/** More than one Host is refused (RFC 9112, section 3.2), of which Node takes the first, and one that no URL can have. */
function checkHost({ rawHeaders, headers }: IncomingMessage): void {
  const hosts = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "host");
  if (hosts.length > 1) throw new HatchwayError("invalid", "the header Host is there twice");
  const { host = "" } = headers;
  if (host !== "" && !URL.canParse(`http://${host}/`)) {
    throw new HatchwayError("invalid", "the header Host names no host");
  }
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

function answerRefusal(thrown: unknown, outgoing: ServerResponse, report: Report): void {
  const { status, body } = refuse(thrown, report);
  // RFC 9110, section 11.6.1: a 401 says how to be let in.
  const challenge = status === 401 ? { "www-authenticate": "Bearer" } : {};
  outgoing.writeHead(status, { "content-type": "application/json", connection: "close", ...challenge });
  outgoing.end(JSON.stringify(body));
}

/** The process at the other end of a unix socket, as the kernel names it. */
export function unixCaller(socket: Socket): Caller {
  const fd = descriptorOf(socket);
  return { kind: "unix", ...peerCredentials(fd), groups: peerGroups(fd) };
}
