// What `/openapi.json` and `/docs` say of each route, besides what it takes. A route that is missing here keeps the
// daemon from starting.
import { z } from "@hono/zod-openapi";
import {
  backup,
  can,
  channels,
  grant,
  hostGroup,
  keyBackup,
  keys,
  list,
  names,
  node,
  nodeRemoved,
  restored,
  rewrap,
  rootWay,
  secret,
  secretRemoved,
  secretRenamed,
  status,
  term,
  trail,
  unsealed,
  version,
  vm,
  vmmArguments,
  whoami,
} from "#admin/answers";
import type { ErrorCode } from "#error";

export interface Description {
  summary: string;
  status: 200 | 201 | 204;
  /** Absent where there is no body; "text" for lines of plain text, "bytes" for a file. */
  answer?: z.ZodType | "text" | "bytes";
  /** Besides those that any request may meet. */
  refusals: readonly ErrorCode[];
  headers?: z.ZodObject;
  /** Another status with the same body. */
  also?: 201;
}

function says(
  summary: string,
  code: Description["status"],
  answer?: Description["answer"],
  ...refusals: ErrorCode[]
): Description {
  return { summary, status: code, refusals, ...(answer !== undefined && { answer }) };
}

const conditions = z.object({
  "if-none-match": z.literal("*").optional().openapi({ description: "only create: 409 where there is one" }),
  "if-match": z.literal("*").optional().openapi({ description: "only update: 404 where there is none" }),
});

/** By method and path. */
export const descriptions: Readonly<Record<string, Description>> = {
  "GET /secrets": says("All secrets, without their values, by name", 200, list(secret)),
  "POST /secrets": says("Create a secret; data is its value in base64", 201, secret, "exists", "too-large"),
  "GET /secrets/{name}": says("One secret, without its value", 200, secret, "not-found"),
  "PATCH /secrets/{name}": says("Change what is said, of value and delivery", 200, secret, "not-found", "too-large"),
  "DELETE /secrets/{name}": says("Remove a secret and take it back from VMs", 200, secretRemoved, "not-found"),
  "PUT /secrets/{name}/value": {
    ...says("Create a secret or change its value: the body, verbatim", 200, secret, "exists", "not-found", "too-large"),
    headers: conditions,
    also: 201,
  },
  "GET /secrets/{name}/vms": says("Names of the VMs that it is attached to", 200, names, "not-found"),
  "GET /secrets/{name}/history": says("The versions that are kept, newest first", 200, list(version), "not-found"),
  "POST /secrets/{name}/rollback": says("Make a new version of an older value", 200, secret, "not-found"),
  "POST /secrets/{name}/rename": says("Give a secret another name", 200, secretRenamed, "not-found", "exists"),

  "GET /vms": says("All VMs, by name", 200, list(vm)),
  "POST /vms": says("Create a VM, and launch it if asked to", 201, vm, "not-found", "exists", "timeout", "unsupported"),
  "GET /vms/{name}": says("One VM, after a wait if asked to", 200, vm, "not-found", "timeout"),
  "DELETE /vms/{name}": says("End a VM and forget it", 204, undefined, "not-found"),
  "POST /vms/{name}/start": says("Start a VM", 200, vm, "not-found", "conflict", "timeout", "unsupported"),
  "POST /vms/{name}/stop": says("Power a VM down, and end it after grace", 200, vm, "not-found", "conflict"),
  "POST /vms/{name}/process": says(
    "Say which process runs a VM that something else starts: its guest boots now",
    200,
    vm,
    "not-found",
    "conflict",
  ),
  "GET /vms/{name}/logs": says("The last lines of its console", 200, "text", "not-found"),
  "GET /vms/{name}/secrets": says("What is attached to a VM", 200, list(grant), "not-found"),
  "PUT /vms/{name}/secrets/{secret}": says("Attach a secret, or change how it is delivered", 200, grant, "not-found"),
  "DELETE /vms/{name}/secrets/{secret}": says("Take a secret back from a VM", 204, undefined, "not-found"),
  "DELETE /vms/{name}/secrets/{secret}/pin": says("Give a VM the newest version again", 200, grant, "not-found"),
  "POST /vms/{name}/token": says(
    "A token for the firmware of a VM that something else starts; its guest has to enrol from now on",
    200,
    "bytes",
    "not-found",
    "conflict",
  ),
  "POST /vms/{name}/image": says(
    "The VM's bundle as an image, sealed if asked to; 204 where the caller has it and waits in vain for another",
    200,
    "bytes",
    "not-found",
    "too-large",
  ),

  "POST /vms/{name}/push": says(
    "Record that a revision, which the image gave, was brought into the guest by hand",
    200,
    vm,
    "not-found",
  ),
  "GET /vms/{name}/arguments": says(
    "What a VMM that you start is told of one way into the VM; no value is in it",
    200,
    vmmArguments,
    "not-found",
    "too-large",
  ),
  "GET /vms/{name}/channels": says("Every way into the VM: whether it fits, and why not", 200, channels, "not-found"),

  "GET /keys": says("The ways to the root key, and the terms of the store", 200, keys),
  "POST /keys/ways/{way}": says("Add a way to the root key; the body is its passphrase or key", 201, rootWay, "exists"),
  "DELETE /keys/ways/{way}": says("Take a way away, unless it is the last", 204, undefined, "not-found", "conflict"),
  "POST /keys/rotate": says("Begin a new term", 201, term),
  "GET /keys/rewrap": says("How far the rewrap is", 200, rewrap),
  "POST /keys/rewrap": says("Seal everything under the current term, in the background", 200, rewrap),
  "DELETE /keys/terms/{term}": says("Retire a term that seals nothing", 204, undefined, "not-found", "conflict"),
  "POST /keys/seal": says("Wipe every key: nothing can be read until they are opened", 204, undefined),
  "POST /keys/unseal": says("Open the keys again; the body is what opens them", 200, unsealed, "wrong-key", "conflict"),
  "POST /keys/backup": says("All that opens the store, sealed to an age recipient", 200, keyBackup),

  "GET /backup": says("What a backup would have", 200, backup, "not-found"),
  "POST /backup": says(
    "A backup as an age file; the body is its passphrase, if no recipients",
    200,
    "bytes",
    "not-found",
  ),
  "POST /restore": says("Take in the secrets of an unsealed backup: all or none", 200, restored, "exists", "corrupt"),

  "GET /audit": says("The last lines of the audit trail, as JSON lines", 200, "text"),
  "GET /audit/export": says("The lines of the audit trail that fit, oldest first", 200, "text"),
  "GET /audit/verify": says("Check all of the audit trail", 200, trail, "corrupt"),

  "GET /hostgroup": says("The host groups", 200, list(hostGroup)),
  "GET /hostgroup/{group}/nodes": says("The VMs of a host group", 200, list(node), "not-found"),
  "POST /hostgroup/{group}/nodes": says(
    "Launch a VM with all secrets, or with those of the list",
    201,
    node,
    "not-found",
    "conflict",
    "timeout",
    "unsupported",
  ),
  "DELETE /hostgroup/{group}/nodes/{host}": says("End a VM of the group and forget it", 200, nodeRemoved, "not-found"),
  "GET /nodes": says("All VMs, as Slicer lists them", 200, list(node)),

  "GET /whoami": says("Who asks, and the roles that he has", 200, whoami),
  "GET /can": says("Whether he could do something, and why not; leaves no line in the audit trail", 200, can),
  "GET /status": says("The daemon, its store and its VMs", 200, status),
  "GET /logs": says("The last lines of the daemon's log", 200, "text"),
};
