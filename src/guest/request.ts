// A request of a guest, on its way from the server through the routes to its handler.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "#caller";
import type { GuestIdentity } from "#channel";
import type { Delivery } from "#delivery";
import type { Vault } from "#vault";

/** What the guest API works with. */
export interface Parts {
  vault: Vault;
  delivery: Delivery;
  /** For the log: something that is not the guest's fault. */
  report(error: unknown): void;
}

export interface GuestRequest {
  identity: GuestIdentity;
  request: IncomingMessage;
  response: ServerResponse;
}

/** A request that is routed: by whom, and the part of its path or query that the route names. */
export interface Asked extends GuestRequest {
  caller: Caller & { kind: "vm" };
  /** `NAME` or `REV` of the path; "" where the route has none. */
  name: string;
  /** Behind `?`; "" when there is none. */
  query: string;
}
