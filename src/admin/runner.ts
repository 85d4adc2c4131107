// The control socket of one VM, for the user that runs it: what that VM is, and its bundle to hand over some other way.
import { vmBody } from "#admin/bodies";
import { apiOf, ok, route, type Answer, type Api, type Ask, type Route } from "#admin/route";
import { argumentsOf, channelsOf } from "#admin/wiring";
import { sendBytes, startBytes } from "#admin/send";
import { waitQuery, wiringQuery, type WaitQuery, type WiringSaid } from "#admin/queries";
import { waitOf } from "#admin/vms";
import { BundleTar } from "#bundle/tar";
import type { Socket } from "node:net";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { descriptorOf, peerCredentials } from "#host/peer";
import type { Machines } from "#machines";
import type { Vault } from "#vault";

export interface RunnerParts {
  vault: Vault;
  machines: Machines;
  vm: { id: string; name: string };
  report: (line: string) => void;
}

const TAR = "application/x-tar";

const table: readonly Route<RunnerParts>[] = [
  route("GET", "/status", { query: waitQuery }, showStatus),
  route("GET", "/arguments", { query: wiringQuery }, showArguments),
  route("GET", "/channels", { query: wiringQuery }, showChannels),
  route("GET", "/bundle", {}, exportBundle),
];

export function runnerApp(parts: RunnerParts): Api {
  return apiOf(table, parts, parts.report);
}

/** The caller at a VM's control socket: its runner, or root. Anybody else is refused. */
export function runnerCaller(vmId: string, runnerUid: number): (socket: Socket) => Caller {
  return (socket) => {
    const { uid } = peerCredentials(descriptorOf(socket));
    if (uid === runnerUid || uid === 0) return { kind: "runner", uid, vmId };
    throw new HatchwayError("forbidden", `uid ${uid} does not run this vm`);
  };
}

async function showStatus(
  { machines, vm }: RunnerParts,
  { caller, query, signal }: Ask<WaitQuery, unknown>,
): Promise<Answer> {
  return ok(await vmBody(await machines.view(caller, vm.name, ...waitOf(query, signal))));
}

/** What a VMM is to be told: where the channels of the VM listen, and with `vmm` how exactly. */
async function showArguments(parts: RunnerParts, { caller, query }: Ask<WiringSaid, unknown>): Promise<Answer> {
  const { machines, vm } = parts;
  if (query.vmm !== undefined) return ok(await argumentsOf(parts, caller, vm.name, query));
  const { channels } = await machines.view(caller, vm.name);
  return ok({ channels });
}

async function showChannels(parts: RunnerParts, { caller, query }: Ask<WiringSaid, unknown>): Promise<Answer> {
  return ok(await channelsOf(parts, caller, parts.vm.name, query));
}

/** The VM's bundle, as docs/formats.md draws it. HEAD tells its size and discloses nothing. */
async function exportBundle(
  { vault, vm }: RunnerParts,
  { caller, outgoing, signal }: Ask<unknown, unknown>,
): Promise<Answer> {
  const bundle = await vault.resolve(caller, vm.id);
  const tar = new BundleTar(bundle, bundle.manifest.entries);
  if (outgoing.req.method === "HEAD") {
    startBytes(outgoing, TAR, tar.size);
    outgoing.end();
  } else await sendBytes(outgoing, TAR, tar, signal);
  return { status: "sent" };
}
