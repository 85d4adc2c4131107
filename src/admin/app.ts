// The admin API: Slicer's secrets, and VMs. Bodies are in src/api.ts; every refusal is `{"error","code","hint"?}`.
import { showCan, showWhoami } from "#admin/access";
import { descriptions } from "#admin/descriptions";
import { describeApi } from "#admin/openapi";
import { exportAudit, tailAudit, verifyAudit } from "#admin/audit";
import { makeBackup, restoreSecrets, showBackup } from "#admin/backup";
import { mintToken } from "#admin/enrolment";
import { buildImage } from "#admin/images";
import {
  addWay,
  backupKeys,
  removeWay,
  retireTerm,
  rotateKeys,
  sealKeys,
  showKeys,
  showRewrap,
  startRewrap,
  unsealKeys,
  type KeyParts,
} from "#admin/keys";
import { apiOf, ok, route, type Answer, type Api, type Ask, type Route } from "#admin/route";
import {
  attachment,
  imageRequest,
  tokenRequest,
  keyBackup,
  nodeCreation,
  push,
  processReport,
  renaming,
  rollback,
  secretChange,
  secretCreation,
  valueQuery,
  vmCreation,
} from "#admin/schemas";
import {
  backupQuery,
  canQuery,
  graceQuery,
  launchQuery,
  logQuery,
  trailQuery,
  unsealQuery,
  waitQuery,
  wayQuery,
  wiringQuery,
  type LogQuery,
} from "#admin/queries";
import { createNode, listGroupNodes, listHostGroups, listNodes, removeNode, type NodeParts } from "#admin/nodes";
import {
  changeSecret,
  createSecret,
  listHolders,
  listSecrets,
  listVersions,
  putValue,
  removeSecret,
  renameSecret,
  rollbackSecret,
  showSecret,
  type SecretParts,
} from "#admin/secrets";
import { vmArguments, vmChannels } from "#admin/wiring";
import {
  attach,
  createVm,
  detach,
  listGrants,
  listVms,
  recordPush,
  observeVm,
  removeVm,
  showConsole,
  showVm,
  startVm,
  stopVm,
  unpin,
} from "#admin/vms";
import type { StatusBody } from "#api";
import type { Caller } from "#caller";
import { VERSION } from "#version";

export interface AdminParts extends SecretParts, NodeParts, KeyParts {
  /** With what `caller` may see of it. */
  status: (caller: Caller) => Promise<StatusBody>;
  log: Log;
}

/** The daemon's log. */
export interface Log {
  /** Its last lines. */
  tail(lines: number): Promise<string>;
  /** Its last lines and then those that come, until `signal` is aborted. */
  follow(lines: number, signal: AbortSignal): AsyncIterable<string>;
  write(line: string): void;
}

const table: readonly Route<AdminParts>[] = [
  route("GET", "/secrets", {}, listSecrets),
  route("POST", "/secrets", { json: secretCreation, value: "data" }, createSecret),
  route("GET", "/secrets/{name}", {}, showSecret),
  route("PATCH", "/secrets/{name}", { json: secretChange, value: "data" }, changeSecret),
  route("DELETE", "/secrets/{name}", {}, removeSecret),
  route("PUT", "/secrets/{name}/value", { query: valueQuery, value: "body" }, putValue),
  route("GET", "/secrets/{name}/vms", {}, listHolders),
  route("GET", "/secrets/{name}/history", {}, listVersions),
  route("POST", "/secrets/{name}/rollback", { json: rollback }, rollbackSecret),
  route("POST", "/secrets/{name}/rename", { json: renaming }, renameSecret),

  route("GET", "/vms", {}, listVms),
  route("POST", "/vms", { query: launchQuery, json: vmCreation }, createVm),
  route("GET", "/vms/{name}", { query: waitQuery }, showVm),
  route("DELETE", "/vms/{name}", {}, removeVm),
  route("POST", "/vms/{name}/start", { query: waitQuery }, startVm),
  route("POST", "/vms/{name}/stop", { query: graceQuery }, stopVm),
  route("POST", "/vms/{name}/process", { json: processReport }, observeVm),
  route("GET", "/vms/{name}/logs", { query: logQuery }, showConsole),
  route("GET", "/vms/{name}/secrets", {}, listGrants),
  route("PUT", "/vms/{name}/secrets/{secret}", { json: attachment }, attach),
  route("DELETE", "/vms/{name}/secrets/{secret}", {}, detach),
  route("DELETE", "/vms/{name}/secrets/{secret}/pin", {}, unpin),
  route("POST", "/vms/{name}/token", { json: tokenRequest }, mintToken),
  route("POST", "/vms/{name}/image", { json: imageRequest }, buildImage),
  route("POST", "/vms/{name}/push", { json: push }, recordPush),
  route("GET", "/vms/{name}/arguments", { query: wiringQuery }, vmArguments),
  route("GET", "/vms/{name}/channels", { query: wiringQuery }, vmChannels),

  route("GET", "/keys", {}, showKeys),
  route("POST", "/keys/ways/{way}", { query: wayQuery, value: "body" }, addWay),
  route("DELETE", "/keys/ways/{way}", {}, removeWay),
  route("POST", "/keys/rotate", {}, rotateKeys),
  route("GET", "/keys/rewrap", {}, showRewrap),
  route("POST", "/keys/rewrap", {}, startRewrap),
  route("DELETE", "/keys/terms/{term}", {}, retireTerm),
  route("POST", "/keys/seal", {}, sealKeys),
  route("POST", "/keys/unseal", { query: unsealQuery, value: "body" }, unsealKeys),
  route("POST", "/keys/backup", { json: keyBackup }, backupKeys),

  route("GET", "/backup", { query: backupQuery }, showBackup),
  route("POST", "/backup", { query: backupQuery, value: "body" }, makeBackup),
  route("POST", "/restore", { value: "chunks" }, restoreSecrets),

  route("GET", "/audit", { query: logQuery }, tailAudit),
  route("GET", "/audit/export", { query: trailQuery }, exportAudit),
  route("GET", "/audit/verify", {}, verifyAudit),

  route("GET", "/hostgroup", {}, listHostGroups),
  route("GET", "/hostgroup/{group}/nodes", {}, listGroupNodes),
  route("POST", "/hostgroup/{group}/nodes", { query: waitQuery, json: nodeCreation }, createNode),
  route("DELETE", "/hostgroup/{group}/nodes/{host}", {}, removeNode),
  route("GET", "/nodes", {}, listNodes),

  route("GET", "/whoami", {}, showWhoami),
  route("GET", "/can", { query: canQuery }, showCan),
  route("GET", "/status", {}, showStatus),
  route("GET", "/logs", { query: logQuery }, showLog),
];

export function adminApp(parts: AdminParts): Api {
  const api = apiOf(table, parts, (line) => parts.log.write(line));
  describeApi(api, table, descriptions, { title: "Hatchway", version: VERSION });
  return api;
}

async function showStatus({ status }: AdminParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  return ok(await status(caller));
}

async function showLog({ vault, log }: AdminParts, { caller, query, signal }: Ask<LogQuery, unknown>): Promise<Answer> {
  await vault.allow(caller, "daemon.logs");
  const lines = query.lines ?? 100;
  return { status: 200, text: query.follow === true ? log.follow(lines, signal) : await log.tail(lines) };
}
