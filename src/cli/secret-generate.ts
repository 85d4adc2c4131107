// secret generate: values that nobody ever sees, made here and sent as bytes.
import { HatchwayError } from "#error";
import { generateCertificate, hostProblem } from "#keygen/certificate";
import { generateSshKey } from "#keygen/openssh";
import { randomBytes, randomPassword } from "#keygen/password";
import { MAX_VALUE_SIZE, secretNameProblem } from "#protocol/names";
import { warnOfWideMode } from "./delivery-flags.ts";
import { parseCount } from "./quantity.ts";
import { describe, parseMetadata, secretName, type MetadataFlags } from "./secret-write.ts";
import type { Session } from "./session.ts";

export interface GenerateFlags extends MetadataFlags {
  password?: true;
  length?: string;
  alphabet?: string;
  bytes?: string;
  sshKey?: true;
  comment?: string;
  tls?: string;
  days?: string;
  overwrite?: true;
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LENGTH = 32;
const DAYS = 365;
const MAX_DAYS = 36_500;

/** What was made: one value or two, each for a secret of its own, and what may be shown of it. */
interface Generated {
  values: { name: string; value: Buffer }[];
  shown?: { key: string; label: string; text: string }[];
}

export async function generateSecret(
  session: Session,
  operands: readonly string[],
  flags: GenerateFlags,
): Promise<undefined> {
  const name = secretName(operands);
  const make = chosen(name, flags);
  const metadata = parseMetadata(name, flags);
  warnOfWideMode(session, metadata);
  const { client } = session;
  const { values, shown = [] } = make();
  try {
    if (values.length > 1) refuseSingleTarget(flags);
    for (const one of values) checkName(one.name);
    if (flags.overwrite !== true) await refuseTaken(session, values);
    const how = flags.overwrite === true ? "set" : "create";
    const stored = [];
    for (const one of values) {
      const { secret, created } = await client.putSecret(one.name, how, one.value, metadata);
      stored.push(secret);
      if (!session.json) session.print(`${created ? "generated" : "generated anew"} ${describe(secret)}`);
    }
    if (session.json) {
      session.printJson({ secrets: stored, ...Object.fromEntries(shown.map(({ key, text }) => [key, text])) });
    } else for (const { label, text } of shown) session.print(`${label}${text}`);
  } finally {
    for (const { value } of values) value.fill(0);
  }
}

/** The one kind that the flags ask for, with what it takes checked before anything is made. */
function chosen(name: string, flags: GenerateFlags): () => Generated {
  const kinds = (["password", "bytes", "sshKey", "tls"] as const).filter((kind) => flags[kind] !== undefined);
  const [kind, second] = kinds;
  if (kind === undefined || second !== undefined) {
    throw new HatchwayError("invalid", "one of --password, --bytes, --ssh-key and --tls is to say what is made");
  }
  refuseForeign(kind, flags);
  switch (kind) {
    case "password": {
      const length = bounded("--length", flags.length, LENGTH, 8, 4096);
      const alphabet = checkedAlphabet(flags.alphabet ?? ALPHABET);
      return () => ({ values: [{ name, value: randomPassword(length, alphabet) }] });
    }
    case "bytes": {
      const length = bounded("--bytes", flags.bytes, 0, 1, MAX_VALUE_SIZE);
      return () => ({ values: [{ name, value: randomBytes(length) }] });
    }
    case "sshKey": {
      const comment = flags.comment ?? name;
      if (!/^[ -~]{0,100}$/.test(comment)) {
        throw new HatchwayError("invalid", "--comment is not of at most 100 printable ascii characters");
      }
      return () => sshKey(name, comment);
    }
    case "tls": {
      const host = flags.tls ?? "";
      const problem = hostProblem(host);
      if (problem !== undefined) throw new HatchwayError("invalid", `--tls "${host.slice(0, 80)}" ${problem}`);
      const days = bounded("--days", flags.days, DAYS, 1, MAX_DAYS);
      return () => tls(name, host, days);
    }
  }
}

/** The public half becomes a secret too, so that it can be attached like any other. */
function sshKey(name: string, comment: string): Generated {
  const { privateKey, publicKey } = generateSshKey(comment);
  return {
    values: [
      { name, value: privateKey },
      { name: `${name}.pub`, value: Buffer.from(`${publicKey}\n`) },
    ],
    shown: [{ key: "public_key", label: "", text: publicKey }],
  };
}

function tls(name: string, host: string, days: number): Generated {
  const { key, certificate, fingerprint, notAfter } = generateCertificate(host, days);
  return {
    values: [
      { name: `${name}.key`, value: key },
      { name: `${name}.crt`, value: certificate },
    ],
    shown: [
      { key: "sha256", label: "sha256   ", text: fingerprint },
      { key: "expires", label: "expires  ", text: notAfter.toISOString() },
    ],
  };
}

const OF_KIND = { length: "password", alphabet: "password", comment: "sshKey", days: "tls" } as const;
const FLAG = { password: "--password", bytes: "--bytes", sshKey: "--ssh-key", tls: "--tls" } as const;

function refuseForeign(kind: keyof typeof FLAG, flags: GenerateFlags): void {
  for (const [flag, owner] of Object.entries(OF_KIND) as [keyof typeof OF_KIND, keyof typeof FLAG][]) {
    if (flags[flag] === undefined || owner === kind) continue;
    throw new HatchwayError("invalid", `--${flag} is of ${FLAG[owner]}, and this is ${FLAG[kind]}`);
  }
}

/** Two secrets cannot be one file or one variable. */
function refuseSingleTarget(flags: GenerateFlags): void {
  const named = (["file", "env", "link"] as const).find((flag) => flags[flag] !== undefined);
  if (named === undefined) return;
  throw new HatchwayError("invalid", `--${named} is of one secret, and this makes two`, {
    hint: "say it afterwards with: hatchway secret update",
  });
}

function checkName(name: string): void {
  const problem = secretNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
}

async function refuseTaken(session: Session, values: Generated["values"]): Promise<void> {
  const there = new Set((await session.client.secrets()).map(({ name }) => name));
  const taken = values.find(({ name }) => there.has(name));
  if (taken === undefined) return;
  throw new HatchwayError("exists", `secret "${taken.name}" exists already`, {
    hint: "to give it a new value, pass --overwrite",
  });
}

function checkedAlphabet(alphabet: string): string {
  const printable = /^[!-~]{2,94}$/.test(alphabet);
  if (printable && new Set(alphabet).size === alphabet.length) return alphabet;
  throw new HatchwayError("invalid", "--alphabet is not of 2 to 94 different printable ascii characters");
}

function bounded(flag: string, text: string | undefined, otherwise: number, least: number, most: number): number {
  if (text === undefined) return otherwise;
  const count = parseCount(flag, text, least);
  if (count > most) throw new HatchwayError("invalid", `${flag} "${text}" is above ${most}`);
  return count;
}
