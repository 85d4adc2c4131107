// secret create, set, update, remove.
import type { AboutBody, SecretBody } from "#api";
import type { MetadataBody } from "#client/client";
import { HatchwayError } from "#error";
import { secretNameProblem } from "#protocol/names";
import { parseAbout, type AboutFlags } from "./about-flags.ts";
import { parseDelivery, warnOfWideMode, type DeliveryFlags } from "./delivery-flags.ts";
import { formatBytes, parseDuration } from "./quantity.ts";
import type { Session } from "./session.ts";
import { chosenSource, readValue, type Source, type ValueFlags } from "./value.ts";
import { refuseBehind, waitForSync, type Arrival } from "./waiting.ts";

export interface WaitFlags {
  wait?: true;
  timeout?: string;
}

/** All that can be said of a secret besides its value. */
export interface MetadataFlags extends AboutFlags, DeliveryFlags {}

export interface WriteFlags extends MetadataFlags, ValueFlags, WaitFlags {}

export async function createSecret(
  session: Session,
  operands: readonly string[],
  flags: WriteFlags,
): Promise<undefined> {
  const name = secretName(operands);
  const metadata = parseMetadata(name, flags);
  warnOfWideMode(session, metadata);
  const source = chosenSource(flags) ?? { kind: "stdin" };
  if (isPrompt(session, source)) await refuseTaken(session, name);
  using value = await readValue(session, name, source, flags);
  const { secret } = await session.client.putSecret(name, "create", value.bytes, metadata);
  session.report(secret, () => `created ${describe(secret)}`);
}

export async function setSecret(session: Session, operands: readonly string[], flags: WriteFlags): Promise<undefined> {
  await putValue(session, secretName(operands), "set", chosenSource(flags) ?? { kind: "stdin" }, flags);
}

/** Only metadata where only its flags are given: then stdin is not read and the value not touched. */
export async function updateSecret(
  session: Session,
  operands: readonly string[],
  flags: WriteFlags,
): Promise<undefined> {
  const name = secretName(operands);
  const metadata = parseMetadata(name, flags);
  const source = chosenSource(flags);
  if (source !== undefined || Object.keys(metadata).length === 0) {
    await putValue(session, name, "update", source ?? { kind: "stdin" }, flags);
    return;
  }
  const timeout = waitTimeout(flags);
  warnOfWideMode(session, metadata);
  const secret = await session.client.patchSecret(name, metadata);
  await reportChange(session, secret, describePatch(secret, metadata), timeout);
}

async function putValue(
  session: Session,
  name: string,
  how: "set" | "update",
  source: Source,
  flags: WriteFlags,
): Promise<void> {
  const metadata = parseMetadata(name, flags);
  const timeout = waitTimeout(flags);
  warnOfWideMode(session, metadata);
  if (how === "update" && isPrompt(session, source)) await session.client.secret(name);
  using value = await readValue(session, name, source, flags);
  const { secret, created } = await session.client.putSecret(name, how, value.bytes, metadata);
  await reportChange(session, secret, `${created ? "created" : "updated"} ${describe(secret)}`, timeout);
}

export function parseMetadata(name: string, flags: MetadataFlags): MetadataBody {
  return { ...parseDelivery(name, flags), ...parseAbout(flags) };
}

const ABOUT: ReadonlySet<string> = new Set(["description", "labels", "default"] satisfies (keyof AboutBody)[]);

function describePatch({ name, version }: SecretBody, metadata: MetadataBody): string {
  const said = Object.keys(metadata).every((key) => ABOUT.has(key));
  const what = said ? `what is said of secret "${name}"` : `how secret "${name}" is delivered`;
  return `changed ${what}; its value stays (version ${version})`;
}

/** Waits if asked to. The change stands whatever comes of that. */
export async function reportChange(
  session: Session,
  secret: SecretBody,
  text: string,
  timeout: number | undefined,
): Promise<void> {
  if (timeout === undefined) {
    session.report(secret, () => text);
    return;
  }
  if (!session.json) session.print(text);
  const arrival = await waitForSync(session, await session.client.holders(secret.name), timeout);
  if (session.json) session.printJson({ ...secret, vms: arrivalBody(arrival) });
  else session.print(describeArrival(arrival));
  refuseBehind(arrival.behind, timeout);
}

function arrivalBody({ inSync, behind, idle }: Arrival): Record<string, string[]> {
  return { in_sync: inSync, behind: behind.map(({ name }) => name), not_running: idle };
}

function describeArrival({ inSync, behind, idle }: Arrival): string {
  const parts = [];
  if (inSync.length > 0) parts.push(`in sync: ${inSync.join(", ")}`);
  if (idle.length > 0) parts.push(`not running, gets it when started: ${idle.join(", ")}`);
  if (inSync.length + idle.length + behind.length === 0) parts.push("attached to no VM: nothing to wait for");
  return parts.join("\n");
}

export async function removeSecrets(session: Session, operands: readonly string[]): Promise<undefined> {
  const removed = [];
  for (const name of operands) {
    const answer = await session.client.removeSecret(name);
    removed.push(answer);
    if (session.json) continue;
    const taken = answer.vms.length === 0 ? "it was attached to no VM" : `taken back from ${answer.vms.join(", ")}`;
    session.print(`removed secret "${name}": ${taken}`);
  }
  if (session.json) session.printJson(removed.length === 1 ? removed[0] : removed);
}

export function secretName(operands: readonly string[]): string {
  const name = operands[0] ?? "";
  const problem = secretNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  return name;
}

export function waitTimeout(flags: WaitFlags): number | undefined {
  if (flags.timeout !== undefined && flags.wait !== true) {
    throw new HatchwayError("invalid", "--timeout is of --wait, which is not given");
  }
  return flags.wait === true ? parseDuration("--timeout", flags.timeout ?? "10s") : undefined;
}

function isPrompt(session: Session, source: Source): boolean {
  return source.kind === "stdin" && session.terminal.stdin.isTTY === true;
}

/** Asked before the prompt, so that nobody types a value in vain; the daemon decides all the same. */
async function refuseTaken(session: Session, name: string): Promise<void> {
  const secrets = await session.client.secrets();
  if (!secrets.some((secret) => secret.name === name)) return;
  throw new HatchwayError("exists", `there is a secret "${name}" already`, {
    hint: `give it another value with: hatchway secret update ${name}`,
  });
}

export function describe(secret: SecretBody): string {
  return `secret "${secret.name}" (${formatBytes(secret.size)}, version ${secret.version})`;
}
