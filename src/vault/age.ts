// age (https://age-encryption.org/v1). X25519 is done here; what needs a plugin or hardware, by the program `age`.
import { spawn } from "node:child_process";
import { HatchwayError, type ErrorCode } from "#error";

/** An X25519 recipient; others have a plugin's name before the last 1. */
const NATIVE_RECIPIENT = /^age1[02-9ac-hj-np-z]{58}$/;
const ANY_RECIPIENT = /^age1[0-9a-z]{1,2000}$/;
const NATIVE_IDENTITY = /^AGE-SECRET-KEY-1[0-9A-Z]{58}$/m;

/** Seals `plaintext` to a recipient, in age's binary form. Throws "invalid" for what is no recipient. */
export async function ageSeal(recipient: string, plaintext: Uint8Array): Promise<Buffer> {
  if (!ANY_RECIPIENT.test(recipient)) {
    throw new HatchwayError("invalid", `"${recipient.slice(0, 80)}" is not an age recipient`, {
      hint: "make an identity with: age-keygen -o identity.txt; its recipient begins with age1",
    });
  }
  if (!NATIVE_RECIPIENT.test(recipient)) return runAge(["-r", recipient], plaintext, "invalid");
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  try {
    encrypter.addRecipient(recipient);
  } catch (cause) {
    throw new HatchwayError("invalid", `"${recipient}" is not an age recipient: its checksum does not hold`, { cause });
  }
  return Buffer.from(await encrypter.encrypt(plaintext));
}

/**
 * Opens what was sealed to an identity, into a buffer that the caller wipes. `path`: the identity's file, whose content
 * is `identity`, where there is one. Throws "wrong-key", "invalid".
 */
export async function ageOpen(path: string | undefined, identity: Buffer, sealed: Buffer): Promise<Buffer> {
  const native = NATIVE_IDENTITY.exec(identity.toString("latin1"))?.[0];
  if (native === undefined) {
    if (path !== undefined) return runAge(["-d", "-i", path], sealed, "wrong-key");
    throw new HatchwayError("invalid", "that is no age identity of its own: it has no line AGE-SECRET-KEY-1…", {
      hint: "one of a plugin or of hardware opens the keys by the path that the way names",
    });
  }
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  try {
    decrypter.addIdentity(native);
    const { buffer, byteOffset, byteLength } = await decrypter.decrypt(sealed);
    return Buffer.from(buffer, byteOffset, byteLength);
  } catch (cause) {
    throw new HatchwayError(
      "wrong-key",
      `the age identity${path === undefined ? "" : ` "${path}"`} does not open what is sealed to it`,
      { cause },
    );
  }
}

/** Runs the program; its words on stderr are those of the error, which has `code`. */
async function runAge(args: readonly string[], input: Uint8Array, code: ErrorCode): Promise<Buffer> {
  const child = spawn("age", args, { stdio: ["pipe", "pipe", "pipe"] });
  const out: Buffer[] = [];
  let words = "";
  child.stdout.on("data", (chunk: Buffer) => void out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(0, 2_000);
  });
  // It may end before it has read all; how it ends says why.
  child.stdin.on("error", () => child.stdin.destroy());
  child.stdin.end(input);
  try {
    const exit = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    if (exit === 0) return Buffer.concat(out);
  } catch (cause) {
    throw new HatchwayError("unsupported", "this age key needs the program age, which cannot be run", {
      hint: "install it with: apt-get install age",
      cause,
    });
  }
  throw new HatchwayError(code, `the program age refused: ${words.trim().split("\n")[0] ?? "it gave no reason"}`);
}
