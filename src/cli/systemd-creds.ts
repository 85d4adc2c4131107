import { spawn } from "node:child_process";
import { HatchwayError } from "#error";

const NO_TPM =
  "see whether there is a TPM2 with: systemd-creds has-tpm2; without one: --with-key host, or another kind of way";

/** Has systemd-creds(1) seal `key` for this host, into `file`. The key goes through a pipe. */
export async function sealCredential(name: string, key: Buffer, file: string, withKey?: string): Promise<void> {
  const choice = withKey === undefined ? [] : [`--with-key=${withKey}`];
  const child = spawn("systemd-creds", ["encrypt", `--name=${name}`, ...choice, "-", file], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  let words = "";
  child.stderr.on("data", (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(0, 2_000);
  });
  // It may end before it has read all; how it ends says why.
  child.stdin.on("error", () => child.stdin.destroy());
  child.stdin.end(key);
  let code: number | null;
  try {
    code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
  } catch (cause) {
    throw new HatchwayError("unsupported", "systemd-creds cannot be run, so no credential can be sealed", {
      hint: "it comes with systemd 250 or newer; a key that is sealed otherwise comes by --from-file",
      cause,
    });
  }
  if (code === 0) return;
  const reason = words.trim().split("\n").at(-1) ?? "no reason";
  throw new HatchwayError("unsupported", `systemd-creds refused: ${reason}`, {
    ...(withKey?.includes("tpm2") === true && { hint: NO_TPM }),
  });
}
