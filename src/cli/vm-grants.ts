// vm attach, detach, unpin.
import type { DeliveryBody } from "#api";
import type { AttachRequest, GrantBody } from "#api-vm";
import { HatchwayError } from "#error";
import { secretNameProblem } from "#protocol/names";
import { parseDelivery, warnOfWideMode, type DeliveryFlags } from "./delivery-flags.ts";
import { renamed } from "./grant-flags.ts";
import type { Session } from "./session.ts";
import { grantTable } from "./vm-show.ts";

export interface AttachFlags extends DeliveryFlags {
  as?: string;
  pin?: true;
}

export async function attachSecrets(
  session: Session,
  operands: readonly string[],
  flags: AttachFlags,
): Promise<undefined> {
  const [vm = "", ...secrets] = checked(operands);
  refuseSharedTarget(secrets, flags);
  const deliveries = await Promise.all(
    secrets.map(async (name) => [name, await deliveryOf(session, name, flags)] as const),
  );
  const grants: GrantBody[] = [];
  for (const [name, delivery] of deliveries) {
    const request: AttachRequest = flags.pin === true ? { ...delivery, pin: true } : delivery;
    grants.push(await session.client.attach(vm, name, request));
  }
  session.report(grants, () => `attached to vm "${vm}":\n${grantTable(grants)}`);
}

export async function detachSecrets(session: Session, operands: readonly string[]): Promise<undefined> {
  const [vm = "", ...secrets] = checked(operands);
  for (const name of secrets) {
    await session.client.detach(vm, name);
    if (!session.json) session.print(`detached secret "${name}" from vm "${vm}"`);
  }
  if (session.json) session.printJson({ vm, detached: secrets });
}

export async function unpinSecrets(session: Session, operands: readonly string[]): Promise<undefined> {
  const [vm = "", ...secrets] = checked(operands);
  const grants: GrantBody[] = [];
  for (const name of secrets) grants.push(await session.client.unpin(vm, name));
  session.report(grants, () => `vm "${vm}" gets every new version again:\n${grantTable(grants)}`);
}

/** `--as` is worded by what the secret is, so that one is asked for; all before anything is attached. */
async function deliveryOf(session: Session, name: string, { as, ...flags }: AttachFlags): Promise<DeliveryBody> {
  const delivery = parseDelivery(name, flags);
  warnOfWideMode(session, delivery);
  if (as === undefined) return delivery;
  return { ...renamed(await session.client.secret(name), as), ...delivery };
}

/** Two secrets cannot be one file or one variable. */
function refuseSharedTarget(secrets: readonly string[], flags: AttachFlags): void {
  if (secrets.length < 2) return;
  const named = (["as", "file", "env", "link"] as const).find((flag) => typeof flags[flag] === "string");
  if (named === undefined) return;
  throw new HatchwayError("invalid", `--${named} names one target, and ${secrets.length} secrets are given`, {
    hint: "attach them one by one",
  });
}

function checked(operands: readonly string[]): readonly string[] {
  for (const name of operands.slice(1)) {
    const problem = secretNameProblem(name);
    if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  }
  return operands;
}
