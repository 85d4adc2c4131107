// How a way to the root key is said on the command line, and where its secret comes from.
import { randomFillSync } from "node:crypto";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { WayQuery } from "#api";
import { HatchwayError } from "#error";
import { promptSame } from "./prompt.ts";
import type { Session } from "./session.ts";
import { readFile, readStream } from "./value.ts";

export interface WayFlags {
  name?: string;
  path?: string;
  credential?: string;
  fromFile?: string;
  sealTo?: string;
  withKey?: string;
  recipient?: string;
  identity?: string;
  passphraseFile?: string;
}

/** A way, and what must be kept secret of it, which is wiped when its scope ends. */
export interface SaidWay extends Disposable {
  name: string;
  way: WayQuery;
  secret: Buffer;
}

export const KINDS = ["key-file", "systemd-credential", "age", "passphrase"] as const;

export function wayFlags(command: Command): Command {
  return command
    .option("--name <name>", "what to call it (its kind)")
    .optionsGroup("key-file:")
    .option("--path <file>", "32 bytes, 0600; made where there is none")
    .optionsGroup("systemd-credential:")
    .option("--credential <name>", "its name in $CREDENTIALS_DIRECTORY (hatchway-key)")
    .option("--seal-to <file>", "make a key and have systemd-creds seal it into that file")
    .option("--with-key <key>", "what systemd-creds is to seal it with: host, tpm2, host+tpm2 (its own choice)")
    .option("--from-file <file>", "the key, 32 bytes, where it is sealed already; - is stdin")
    .optionsGroup("age:")
    .option("--recipient <age1…>", "who it is sealed to")
    .option("--identity <file>", "the file with the identity, there when the daemon starts")
    .optionsGroup("passphrase:")
    .option("--passphrase-file <file>", "read it from there, - is stdin; without it there is a hidden prompt");
}

/** Throws "invalid" for what is missing or does not belong together. */
export async function readWay(session: Session, kind: string, flags: WayFlags): Promise<SaidWay> {
  const name = flags.name ?? kind;
  const said = (way: WayQuery, secret: Buffer = Buffer.alloc(0)): SaidWay => {
    return { name, way, secret, [Symbol.dispose]: () => void secret.fill(0) };
  };
  switch (kind) {
    case "key-file":
      return said({ kind, ...(flags.path !== undefined && { path: resolve(flags.path) }) });
    case "systemd-credential": {
      const credential = flags.credential ?? "hatchway-key";
      return said({ kind, credential }, await credentialKey(session, credential, flags));
    }
    case "age":
      if (flags.recipient === undefined || flags.identity === undefined) {
        throw new HatchwayError("invalid", "a way by age needs --recipient and --identity", {
          hint: "make an identity with: age-keygen -o identity.txt",
        });
      }
      return said({ kind, recipient: flags.recipient, identity: resolve(flags.identity) });
    case "passphrase":
      return said({ kind }, await newPassphrase(session, flags.passphraseFile));
    default:
      throw new HatchwayError("invalid", `"${kind}" is not a kind of way: ${KINDS.join(", ")} are`);
  }
}

async function newPassphrase(session: Session, file: string | undefined): Promise<Buffer> {
  if (file !== undefined) return withoutNewline(await readPath(session, file));
  if (session.terminal.stdin.isTTY !== true) {
    throw new HatchwayError("invalid", "there is no terminal to ask for the passphrase", {
      hint: "read it from a file or a pipe: --passphrase-file PATH, or -",
    });
  }
  return promptSame(session.terminal, "new passphrase (hidden): ");
}

export function readPath(session: Session, path: string): Promise<Buffer> {
  return path === "-" ? readStream(session.terminal.stdin) : Promise.resolve(readFile(path));
}

/** As the daemon reads the credential: a newline at the end is the editor's. */
export function withoutNewline(bytes: Buffer): Buffer {
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}

async function credentialKey(session: Session, name: string, flags: WayFlags): Promise<Buffer> {
  if ((flags.fromFile === undefined) === (flags.sealTo === undefined)) {
    throw new HatchwayError("invalid", "a way by credential needs either --seal-to or --from-file", {
      hint: `for example: --seal-to /etc/credstore.encrypted/${name}`,
    });
  }
  if (flags.fromFile !== undefined) return readPath(session, flags.fromFile);
  const key = randomFillSync(Buffer.allocUnsafeSlow(128).subarray(0, 32));
  const { sealCredential } = await import("./systemd-creds.ts");
  await sealCredential(name, key, resolve(flags.sealTo ?? ""), flags.withKey);
  return key;
}
