// Credentials of systemd: a secret as one unit of systemd, or its process 1, is given it (systemd.exec(5), CREDENTIALS).
import { HatchwayError } from "#error";

/**
 * What systemd and its services take by themselves, from the firmware and from the folders where credentials are kept
 * (systemd.system-credentials(7)): a unit, a user, a key for root. Whoever may name a secret would else run code as root.
 * What is ours is kept as well.
 */
const RESERVED = new RegExp(
  `^(?:${[
    "cryptsetup cryptenroll firstboot fstab getty hatchway home imds import journal locale login machine network passwd",
    "resolve shell ssh sysctl sysext sysusers system systemd tmpfiles timezone udev userdb vconsole vmm",
  ]
    .flatMap((line) => line.split(" "))
    .join("|")})\\.`,
);

/** Throws HatchwayError "invalid" for the name of a secret that systemd itself would act on. */
export function refuseReservedCredential(name: string): void {
  if (!RESERVED.test(name)) return;
  throw new HatchwayError("invalid", `secret "${name}" would be a credential that systemd itself acts on, as root`, {
    hint: "rename the secret, or allow it if that is what it is for",
  });
}
