import { HatchwayError } from "#error";
import { vmNameProblem } from "#protocol/names";
import type { VmRecord } from "#vault/records";
import type { Rows, Stored } from "#vault/rows";

/** Throws "invalid" for a name that no vm can have. */
export function checkVmName(name: string): void {
  const problem = vmNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name.slice(0, 80)}" ${problem}`);
}

export function unknownVm(name: string): HatchwayError {
  return new HatchwayError("not-found", `there is no vm "${name}"`, { hint: "see them with: hatchway vm list" });
}

/** Throws "not-found". */
export async function findVm(rows: Rows, name: string): Promise<Stored<VmRecord>> {
  checkVmName(name);
  const stored = await rows.get<VmRecord>(rows.vmKey(name));
  if (!stored) throw unknownVm(name);
  return stored;
}

/** Names of secrets as the audit has them; no name holds a comma. */
export function namesOf(secrets: readonly string[]): { secret?: string } {
  return secrets.length === 0 ? {} : { secret: secrets.join(",") };
}
