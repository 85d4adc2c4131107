// Tokens for the guests of VMs that something else starts.
import type { Answer, Ask } from "#admin/route";
import { sendBytes } from "#admin/send";
import type { TokenRequest } from "#api-vm";
import type { Said } from "#admin/schemas";
import { HatchwayError } from "#error";
import type { Vault } from "#vault";

/** The word of the VM's firmware, as one line; from now on its guest has to enrol. */
export async function mintToken(
  { vault }: { vault: Vault },
  { caller, name, json, outgoing, signal }: Ask<undefined, Said<TokenRequest>>,
): Promise<Answer> {
  const vm = await vault.vm(caller, name("name"));
  if (vm.launch) {
    throw new HatchwayError("conflict", `vm "${vm.name}" gets a token at each start, if it was created with --enrol`, {
      hint: "tokens are made for VMs that something else starts: hatchway vm create --external",
    });
  }
  const line = await vault.mintToken(caller, vm.name, json.reboots ?? 0);
  try {
    const whole = { size: line.length, writeTo: (sink: (bytes: Uint8Array) => Promise<void>) => sink(line) };
    await sendBytes(outgoing, "application/octet-stream", whole, signal);
  } finally {
    line.fill(0);
  }
  return { status: "sent" };
}
