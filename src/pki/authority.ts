// A small certificate authority for the admin API over TLS and for guests. Its folder is private (0700), every file in
// it 0600:
//
//   ca.key          the authority's key, PKCS #8; whoever has it makes what opens the daemon
//   ca.crt          its certificate, which everybody needs who checks the others
//   crl.pem         the revocation list; good as long as the authority is, replaced with each change
//   issued.json     what was issued
//   lock            held by who changes something
//   server/NAME.pem, client/NAME.pem
//                   certificate and key in one file, so that both are replaced in one step
//   guest/NAME.pem  the same, and the authority's certificate behind them: all that the guest needs (agent/identity.ts)
import { createPrivateKey, generateKeyPairSync, X509Certificate, type KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HatchwayError } from "#error";
import { errnoText, isErrno, privateDirectory, readPrivateFile, writeDurably } from "#host/files";
import { PidFile } from "#host/pid-file";
import { pem } from "#keygen/pem";
import { commonName, keyIdOf, newSerial, signRevocations, SLACK } from "#keygen/x509";
import { valueBuffer } from "#value-buffer";
import {
  bearerProblem,
  decodeRegister,
  encodeRegister,
  newest,
  vmIdProblem,
  type Bearer,
  type Issued,
  type Register,
} from "./issued.ts";
import { authorityCertificate, bearerCertificate } from "./profile.ts";

export const DAY = 86_400_000;
/** Days that an authority is good for, and a certificate, unless asked otherwise. */
export const AUTHORITY_DAYS = 3650;
export const CERTIFICATE_DAYS = 365;

/** Milliseconds that one command waits for another one to be done with the folder. */
const PATIENCE = 5_000;
const MAX_PEM = 65_536;

/** Of an authority whose folder this process has for itself. All methods throw HatchwayError. */
export class Authority implements AsyncDisposable {
  readonly folder: string;
  readonly certificate: X509Certificate;
  readonly #key: KeyObject;
  readonly #lock: PidFile;
  #register: Register;

  private constructor(folder: string, certificate: X509Certificate, key: KeyObject, lock: PidFile, register: Register) {
    this.folder = folder;
    this.certificate = certificate;
    this.#key = key;
    this.#lock = lock;
    this.#register = register;
  }

  /** Makes an authority in `folder`, which is made too. Throws "exists". */
  static async create(folder: string, days: number): Promise<Authority> {
    await privateDirectory(folder);
    const lock = await take(folder);
    try {
      for (const name of ["ca.key", "ca.crt"]) {
        if (existsSync(join(folder, name))) {
          throw new HatchwayError("exists", `there is an authority already: "${join(folder, name)}"`, {
            hint: "choose another folder with: --dir FOLDER",
          });
        }
      }
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
      const name = `hatchway ${newSerial().toString("hex", 0, 4)}`;
      const der = authorityCertificate(privateKey, commonName(name), new Date(Date.now() + days * DAY));
      const register: Register = { crl: 0, certificates: [] };
      const authority = new Authority(folder, new X509Certificate(der), privateKey, lock, register);
      await authority.#keep(register);
      await writeKey(join(folder, "ca.key"), privateKey);
      await writeDurably(join(folder, "ca.crt"), pem("CERTIFICATE", der));
      return authority;
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Throws "not-found" where there is none. */
  static async open(folder: string): Promise<Authority> {
    const certificate = await readAuthority(folder);
    const lock = await take(folder);
    try {
      const path = join(folder, "ca.key");
      const bytes = await readPrivateFile(path, MAX_PEM);
      if (!bytes) {
        throw new HatchwayError("not-found", `there is no "${path}": nothing can be issued or revoked without it`);
      }
      const key = readKey(path, bytes);
      if (!certificate.checkPrivateKey(key)) {
        throw new HatchwayError("corrupt", `"${path}" is not the key of "${join(folder, "ca.crt")}"`);
      }
      return new Authority(folder, certificate, key, lock, await readRegister(folder));
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  get register(): Register {
    return this.#register;
  }

  /** A new key and its certificate, under a name that nobody has. Throws "exists". */
  async issue(bearer: Bearer, days?: number): Promise<Issued> {
    const { kind, name } = bearer;
    refuseBearer(bearer);
    const before = newest(this.#register.certificates, { kind, name });
    const path = pemFile(this.folder, { kind, name });
    const isGood = before && before.revokedAt === undefined && before.notAfter > Date.now();
    // One of an earlier VM of that name opens nothing any more.
    const isEarlier = before !== undefined && before.vmId !== bearer.vmId;
    if (!isEarlier && (isGood || existsSync(path))) {
      throw new HatchwayError("exists", `there is a ${kind} certificate "${name}" already`, {
        hint: `make a new one of it with: hatchway pki renew ${kind}/${name}`,
      });
    }
    return this.#write(await this.#make(bearer, days));
  }

  /** As `issue`, of a guest, and on record as well; its file is what this gives and nowhere else. The caller wipes it. */
  async issueUnwritten(bearer: Bearer & { kind: "guest" }): Promise<Buffer> {
    refuseBearer(bearer);
    return this.#encode(await this.#make(bearer, undefined));
  }

  /** Another key and certificate in the place of those; what was there stays good until it ends. */
  async renew(one: Issued, days?: number): Promise<Issued> {
    if (one.revokedAt !== undefined) {
      throw new HatchwayError("conflict", `the ${one.kind} certificate "${one.name}" is revoked`, {
        hint: "issue a new one under that name",
      });
    }
    const { serial: _serial, notBefore: _notBefore, notAfter: _notAfter, ...bearer } = one;
    refuseBearer(bearer);
    return this.#write(await this.#make(bearer, days));
  }

  /** The authority's own certificate once more, for the same key: what it issued stays good. */
  async renewItself(days: number): Promise<void> {
    const issuer = Buffer.from(this.certificate.subject.replace(/^CN=/, ""));
    const der = authorityCertificate(this.#key, commonName(issuer.toString()), new Date(Date.now() + days * DAY));
    const renewed = new Authority(this.folder, new X509Certificate(der), this.#key, this.#lock, this.#register);
    await renewed.#keep(this.#register);
    await writeDurably(join(this.folder, "ca.crt"), pem("CERTIFICATE", der));
  }

  /** All of that kind and name that are still good; their file goes as well. Answers how many there were. */
  async revoke({ kind, name }: Pick<Issued, "kind" | "name">): Promise<number> {
    const now = Date.now();
    let count = 0;
    const certificates = this.#register.certificates.map((one) => {
      if (one.kind !== kind || one.name !== name || one.revokedAt !== undefined || one.notAfter <= now) return one;
      count++;
      return { ...one, revokedAt: now };
    });
    // Also where there is nothing to revoke: a command before this may have been cut off before the list was written.
    await this.#keep({ ...this.#register, certificates });
    try {
      await unlink(pemFile(this.folder, { kind, name }));
    } catch (cause) {
      if (!isErrno(cause, "ENOENT")) throw cause;
    }
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock[Symbol.asyncDispose]();
  }

  async #make(bearer: Bearer, days: number | undefined): Promise<Made> {
    const now = Date.now();
    const end = Date.parse(this.certificate.validTo);
    const wanted = now + (days ?? CERTIFICATE_DAYS) * DAY;
    if (end <= now || (days !== undefined && wanted > end)) {
      throw new HatchwayError("invalid", `the authority itself ends on ${new Date(end).toISOString()}`, {
        hint: "give it more time with: hatchway pki renew --authority",
      });
    }
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const serial = newSerial();
    const one: Issued = {
      ...bearer,
      serial: serial.toString("hex").toUpperCase(),
      notBefore: now - SLACK,
      notAfter: Math.min(wanted, end),
    };
    const der = bearerCertificate(one, serial, privateKey, this.certificate, this.#key);
    // On record before it is anywhere: what is not on record could never be revoked.
    const { certificates } = this.#register;
    await this.#keep({ ...this.#register, certificates: [...certificates, one] });
    return { one, certificate: pem("CERTIFICATE", der), privateKey };
  }

  async #write(made: Made): Promise<Issued> {
    const { one } = made;
    await privateDirectory(join(this.folder, one.kind));
    const whole = this.#encode(made);
    try {
      await writeDurably(pemFile(this.folder, one), whole);
    } finally {
      whole.fill(0);
    }
    return one;
  }

  /** Its file's bytes. */
  #encode({ one, certificate, privateKey }: Made): Buffer {
    if (one.kind !== "guest") return withKey([certificate], privateKey);
    return withKey([hostLine(one), certificate], privateKey, [pem("CERTIFICATE", this.certificate.raw)]);
  }

  /** Writes the register, and the list that follows from it. */
  async #keep(register: Register): Promise<void> {
    const now = Date.now();
    const next = { crl: register.crl + 1, certificates: register.certificates };
    await writeDurably(join(this.folder, "issued.json"), encodeRegister(next));
    const revoked = next.certificates.flatMap(({ serial, revokedAt, notAfter }) =>
      revokedAt === undefined || notAfter <= now
        ? []
        : [{ serial: Buffer.from(serial, "hex"), at: new Date(revokedAt) }],
    );
    const der = signRevocations(
      {
        issuer: commonName(this.certificate.subject.replace(/^CN=/, "")),
        keyId: keyIdOf(this.#key),
        number: next.crl,
        thisUpdate: new Date(now - SLACK),
        nextUpdate: new Date(this.certificate.validTo),
        revoked,
      },
      this.#key,
    );
    await writeDurably(join(this.folder, "crl.pem"), pem("X509 CRL", der));
    this.#register = next;
  }
}

export function pemFile(folder: string, { kind, name }: Pick<Issued, "kind" | "name">): string {
  return join(folder, kind, `${name}.pem`);
}

/** What was issued; needs neither the key nor the lock. */
export async function readRegister(folder: string): Promise<Register> {
  const path = join(folder, "issued.json");
  return decodeRegister(path, await readFileOf(path));
}

/** Throws "not-found" where there is no authority. */
export async function readAuthority(folder: string): Promise<X509Certificate> {
  const path = join(folder, "ca.crt");
  const bytes = await readFileOf(path);
  try {
    return new X509Certificate(bytes);
  } catch (cause) {
    throw new HatchwayError("corrupt", `"${path}" is not a certificate`, { cause });
  }
}

async function readFileOf(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) {
      throw new HatchwayError("not-found", `there is no authority: "${path}" is missing`, {
        hint: "make one with: hatchway pki init",
        cause,
      });
    }
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
}

function readKey(path: string, bytes: Buffer): KeyObject {
  try {
    return createPrivateKey(bytes);
  } catch (cause) {
    throw new HatchwayError("corrupt", `"${path}" is not a private key in PEM`, { cause });
  } finally {
    bytes.fill(0);
  }
}

interface Made {
  one: Issued;
  /** In PEM. */
  certificate: Buffer;
  privateKey: KeyObject;
}

/** What the guest's agent tries where nothing is said (agent/identity.ts). */
function hostLine({ host }: Issued): Buffer {
  return Buffer.from(host === undefined ? "" : `Host: ${host}\n`);
}

/** Throws "invalid". */
function refuseBearer({ kind, name, vmId }: Bearer): void {
  const problem = bearerProblem(kind, name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name.slice(0, 80)}" ${problem}`);
  const idProblem = kind === "guest" ? vmIdProblem(vmId ?? "") : undefined;
  if (idProblem !== undefined) throw new HatchwayError("invalid", `"${vmId ?? ""}" ${idProblem}`);
}

/** The key in PEM, between what stands before and behind it; the caller wipes it. */
function withKey(before: readonly Buffer[], key: KeyObject, behind: readonly Buffer[] = []): Buffer {
  const pkcs8 = key.export({ format: "der", type: "pkcs8" });
  const text = pem("PRIVATE KEY", pkcs8);
  const parts = [...before, text, ...behind];
  const whole = valueBuffer(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) at += part.copy(whole, at);
  for (const secret of [pkcs8, text]) secret.fill(0);
  return whole;
}

/** Writes the key alone. */
async function writeKey(path: string, key: KeyObject): Promise<void> {
  const whole = withKey([], key);
  try {
    await writeDurably(path, whole);
  } finally {
    whole.fill(0);
  }
}

async function take(folder: string): Promise<PidFile> {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await PidFile.take(join(folder, "lock"), `the authority "${folder}"`);
    } catch (error) {
      const isHeld = error instanceof HatchwayError && error.code === "locked";
      if (!isHeld || Date.now() > deadline) throw error;
      await sleep(50);
    }
  }
}
