// `hatchway/client`, as programs import it: the client, what it answers, and what it throws. It runs in any Node from
// 20 on and depends on no package.
import type { Client } from "./client.ts";
import { connect as open } from "./connect.ts";
import type { CredentialFiles } from "./uri.ts";

export type { Client, LogRequest, MetadataBody, Wait } from "./client.ts";
export type { CredentialFiles } from "./uri.ts";
export type { Verb } from "#role";
export type { BackupContents, BackupReaders } from "#backup";
export type {
  AboutBody,
  CanBody,
  DeliveryBody,
  KeysBody,
  RestoredBody,
  RewrapBody,
  SecretBody,
  SecretRemoved,
  SecretRenamed,
  StatusBody,
  TrailBody,
  TrailQuery,
  VersionBody,
  WayBody,
  WayQuery,
  WhoamiBody,
} from "#api";
export type {
  ArgumentsBody,
  AttachRequest,
  ChannelBody,
  ChannelsBody,
  ConvergenceBody,
  GrantBody,
  GrantRequestBody,
  ImageRequest,
  LaunchBody,
  TokenRequest,
  VmBody,
  VmRequestBody,
  VmState,
  WiringQuery,
} from "#api-vm";
export { HatchwayError, type ErrorCode } from "#error";

/**
 * A client of the daemon at `uri`: `secret:///system`, `secret:///session`, `unix:///path/to.sock`,
 * `http://127.0.0.1:port` with a token, or `https://host:port` with a token or a client certificate; libvirt's
 * `secret:///system?socket=/path` too. `embed:///root`, or `secret:///embed?root=/root`, is a store under that folder, in
 * this process and without a daemon (Node 24 or newer), until `close()`. Without a URI it is the daemon that
 * HATCHWAY_URI names, else the user's own if it runs, else the system's. `files` are those of a network connection; those
 * that it leaves out are named by HATCHWAY_TOKEN_FILE, HATCHWAY_CERT_FILE, HATCHWAY_KEY_FILE and HATCHWAY_CA_FILE.
 * Connects with the first request; throws HatchwayError "invalid" or "unsupported" for another URI.
 *
 * ```ts
 * const hatchway = connect("http://127.0.0.1:8080", { token: "/home/ci/token" });
 * await hatchway.putSecret("db-password", "set", value);
 * const vm = await hatchway.createVm(
 *   { name: "web-1", secrets: ["db-password"] },
 *   { launch: true, wait: { until: "agent", timeout: 30_000 } },
 * );
 * ```
 */
export function connect(uri?: string, files: CredentialFiles = {}): Client {
  return open(uri, process.env, files);
}
