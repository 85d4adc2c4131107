// vm ssh-key: the line by which sshd knows a VM by its key, and lets that key do one thing.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HatchwayError } from "#error";
import { packageRoot } from "#host/package-root";
import { shellWord } from "./shell-word.ts";
import type { Session } from "./session.ts";

/** sshd's names of keys that a program has (PubkeyAcceptedAlgorithms of sshd_config(5)). */
const KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
const MAX_KEY_FILE = 16_384;

export async function printSshKey(session: Session, [name = "", file = ""]: readonly string[]): Promise<undefined> {
  const key = readPublicKey(file);
  const { channels, runner } = await session.client.vm(name);
  const socket = channels.find(({ kind }) => kind === "ssh")?.path;
  if (socket === undefined) {
    throw new HatchwayError("unavailable", `the sockets of vm "${name}" could not be bound`, {
      hint: "see why with: hatchway logs",
    });
  }
  const user = runner.name ?? String(runner.uid);
  const line = authorizedKey(key, join(packageRoot(), "bin/hatchway"), socket, name);
  session.report({ vm: name, user, line }, () => line);
  if (session.json) return;
  session.terminal.stderr.write(
    `# a line of ~${user}/.ssh/authorized_keys: the key's owner gets the secrets of vm "${name}" and nothing else\n` +
      `# in the guest: hatchway-agent run --from ssh:${user}@THIS-HOST\n`,
  );
}

/** The key's kind and base64, without the comment that somebody else chose. */
function readPublicKey(file: string): string {
  const text = readKeyFile(file);
  if (text.includes("PRIVATE KEY")) {
    throw new HatchwayError("invalid", `"${file}" holds a private key, which stays in the guest`, {
      hint: "give the public one, whose name ends in .pub",
    });
  }
  const [kind = "", base64 = ""] = text.trimEnd().split(" ");
  if (!text.trimEnd().includes("\n") && KINDS.includes(kind) && isBlobOf(kind, base64)) return `${kind} ${base64}`;
  throw new HatchwayError("invalid", `"${file}" is not one public key of OpenSSH: ${KINDS.join(", ")}`, {
    hint: "make one in the guest: ssh-keygen -t ed25519 -N '' -f /etc/hatchway/ssh/key",
  });
}

function readKeyFile(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file)
      .subarray(0, MAX_KEY_FILE)
      .toString("latin1");
  } catch (cause) {
    const { code = "unknown" } = cause as NodeJS.ErrnoException;
    throw new HatchwayError("invalid", `cannot read "${file}": ${code}`, { cause });
  }
}

/** A blob begins with the kind once more, behind its length in four bytes (RFC 4253, section 6.6). */
function isBlobOf(kind: string, base64: string): boolean {
  if (!/^[A-Za-z0-9+/]{32,}={0,2}$/.test(base64)) return false;
  const blob = Buffer.from(base64, "base64");
  return blob.readUInt32BE(0) === kind.length && blob.toString("latin1", 4, 4 + kind.length) === kind;
}

/** A line of authorized_keys (sshd(8)): inside the quotes of an option only a quote is escaped, and the shell reads the rest. */
export function authorizedKey(key: string, program: string, socket: string, vm: string): string {
  const command = [program, "fetch", socket].map(shellWord).join(" ");
  return `restrict,command="${command.replaceAll('"', '\\"')}" ${key} hatchway:${vm}`;
}
