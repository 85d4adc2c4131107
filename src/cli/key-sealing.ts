// key seal, unseal.
import type { Command } from "commander";
import type { UnsealQuery } from "#api";
import { HatchwayError } from "#error";
import { examples, leaf, type Run } from "./command.ts";
import { promptOnce } from "./prompt.ts";
import type { Session } from "./session.ts";
import { readPath, withoutNewline } from "./way-flags.ts";

interface UnsealFlags {
  passphrase?: true;
  passphraseFile?: string;
  identity?: string;
  keyFile?: string;
}

export function addSealingCommands(run: Run, key: Command): void {
  leaf(run, key, "seal", "wipe the keys of the running daemon; VMs go on", defineSeal, sealKeys);
  leaf(run, key, "unseal", "open them again", defineUnseal, unsealKeys);
}

function defineSeal(command: Command): Command {
  return command.description(
    "Wipes every key that the running daemon holds, and forgets what was read by them. VMs go on with the secrets that " +
      "they have; whatever is asked of the daemon is refused until: hatchway key unseal. For a machine that may be taken " +
      "away or looked into. Seal only what can be opened again: see hatchway key status.",
  );
}

function defineUnseal(command: Command): Command {
  return command
    .option("--passphrase", "ask for the passphrase (hidden)")
    .option("--passphrase-file <file>", "read it from there; - is stdin")
    .option("--identity <file>", "the age identity; - is stdin")
    .option("--key-file <file>", "the key file, 32 bytes, where it is not in its usual place; - is stdin")
    .description(
      "Opens the keys that were sealed, in the running daemon, and brings VMs up to date. Without a flag by the ways " +
        "that ask nobody: key file, credential, age identity, each where it usually is.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway key unseal",
        "hatchway key unseal --passphrase",
        "hatchway key unseal --identity /media/usb/identity.txt",
      ),
    );
}

async function sealKeys(session: Session): Promise<undefined> {
  await session.client.sealKeys();
  session.report({ sealed: true }, () => "sealed the keys; VMs keep what they have");
  if (!session.json) session.hint("open them with: hatchway key unseal");
}

async function unsealKeys(session: Session, _operands: readonly string[], flags: UnsealFlags): Promise<undefined> {
  using opener = await readOpener(session, flags);
  const { way } = await session.client.unsealKeys(opener.by, opener.secret);
  session.report({ sealed: false, way }, () => `opened the keys by the way "${way}"`);
}

interface Brought extends Disposable {
  by: UnsealQuery["by"];
  secret: Buffer;
}

async function readOpener(session: Session, flags: UnsealFlags): Promise<Brought> {
  const { passphrase, passphraseFile, identity, keyFile } = flags;
  if ([passphrase, passphraseFile, identity, keyFile].filter((flag) => flag !== undefined).length > 1) {
    throw new HatchwayError("invalid", "--passphrase, --passphrase-file, --identity and --key-file: one is enough");
  }
  if (identity !== undefined) return brought("age", await readPath(session, identity));
  if (keyFile !== undefined) return brought("key-file", await readPath(session, keyFile));
  if (passphraseFile !== undefined)
    return brought("passphrase", withoutNewline(await readPath(session, passphraseFile)));
  const isTerminal = session.terminal.stdin.isTTY === true;
  if (passphrase === true && !isTerminal) {
    throw new HatchwayError("invalid", "there is no terminal to ask for the passphrase", {
      hint: "read it from a file or a pipe: --passphrase-file PATH, or -",
    });
  }
  // Nothing else could open them: then there is no need to say so.
  const asks = passphrase === true || (isTerminal && (await session.client.keys()).ways.every(isPassphrase));
  if (!asks) return brought(undefined, Buffer.alloc(0));
  return brought("passphrase", await promptOnce(session.terminal, "passphrase of the store (hidden): "));
}

function brought(by: UnsealQuery["by"], secret: Buffer): Brought {
  return { by, secret, [Symbol.dispose]: () => void secret.fill(0) };
}

function isPassphrase({ kind }: { kind: string }): boolean {
  return kind === "passphrase";
}
