// A folder of the host that is a file system of a guest: by what it gets there, what is in it, and what speaks against it.
// What it holds is drawn in protocol/share.ts.
import { HatchwayError } from "#error";

export const SHARED_BY = ["9p", "virtiofs", "smb", "nfs", "sshfs"] as const;
export type SharedBy = (typeof SHARED_BY)[number];

/** "sealed": one age file. "plain": a folder of files, which whoever gets at it can read as their modes let him. */
export type ShareForm = "sealed" | "plain";

/** Why a plain share goes to more than the guest's root and its users. */
const EXPOSED: Partial<Record<SharedBy, string>> = {
  smb: "every user and process of the guest can read QEMU's SMB server, which asks for no password",
  nfs: "NFS trusts addresses: whoever has the guest's, or says so, reads all of it",
};

/** Refuses with "invalid" what would be open to more than it looks like, unless that is meant. */
export function checkExposure(by: SharedBy, form: ShareForm, isMeant: boolean): void {
  const reason = EXPOSED[by];
  if (reason === undefined || form === "sealed" || isMeant) return;
  throw new HatchwayError("invalid", `a plain share by ${by} is exposed: ${reason}`, {
    hint: "leave it sealed, or say that it is meant: --allow-exposed",
  });
}

/** How long a set that was replaced can still be read by who has just been led there: milliseconds. */
export const SHARE_HOLD = 2_000;
