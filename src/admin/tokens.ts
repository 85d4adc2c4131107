// Bearer tokens (RFC 6750). A file has one token, as its client has it, or `sha256:` and the hex of its digest, so that
// a host need not hold what opens it. Only digests are kept.
import { createHash, timingSafeEqual } from "node:crypto";
import { HatchwayError, toHatchwayError } from "#error";
import { readPrivateFile } from "#host/files";

export interface TokenFile {
  /** What the audit trail calls who sends it. */
  id: string;
  /** Absolute. */
  path: string;
}

/** At least 160 bits in hex, or 192 in base64: nothing that could be guessed over a network. */
const TOKEN = /^[A-Za-z0-9._~+/-]{32,512}={0,2}$/;
const DIGEST = /^sha256:([0-9a-f]{64})$/;
const CREDENTIALS = /^Bearer ([A-Za-z0-9._~+/-]+={0,2})$/i;
const MAX_FILE = 1024;

export class Tokens {
  readonly #digests: readonly { id: string; digest: Buffer }[];

  private constructor(digests: readonly { id: string; digest: Buffer }[]) {
    this.#digests = digests;
  }

  /** Throws "not-found", "forbidden" for a file that others can read, and "invalid" for what is no token. */
  static async read(files: readonly TokenFile[]): Promise<Tokens> {
    const { tokens, problems } = await Tokens.readSome(files);
    for (const problem of problems.values()) throw problem;
    return tokens;
  }

  /** Those of the files that hold a token now, and by its id what is wrong with each other one. */
  static async readSome(
    files: readonly TokenFile[],
  ): Promise<{ tokens: Tokens; problems: Map<string, HatchwayError> }> {
    const digests: { id: string; digest: Buffer }[] = [];
    const problems = new Map<string, HatchwayError>();
    for (const { id, path } of files) {
      try {
        const digest = await readDigest(path);
        const same = digests.find((other) => other.digest.equals(digest));
        if (same) throw new HatchwayError("invalid", `tokens "${same.id}" and "${id}" are the same`);
        digests.push({ id, digest });
      } catch (error) {
        problems.set(id, toHatchwayError(error));
      }
    }
    return { tokens: new Tokens(digests), problems };
  }

  /** Whether the token of that id is there, and the same as in `other`. */
  hasAsIn(other: Tokens, id: string): boolean {
    const [ours, theirs] = [this, other].map((tokens) => tokens.#digests.find((one) => one.id === id)?.digest);
    return ours !== undefined && theirs?.equals(ours) === true;
  }

  /** Whose token an `Authorization` header holds; undefined where it is nobody's. Compares with each, always. */
  find(authorization: string): string | undefined {
    const [, token] = CREDENTIALS.exec(authorization) ?? [];
    if (token === undefined) return undefined;
    const given = createHash("sha256").update(token).digest();
    let found: string | undefined;
    for (const { id, digest } of this.#digests) if (timingSafeEqual(given, digest)) found = id;
    return found;
  }
}

async function readDigest(path: string): Promise<Buffer> {
  const bytes = await readPrivateFile(path, MAX_FILE);
  if (!bytes) {
    throw new HatchwayError("not-found", `there is no token file "${path}"`, {
      hint: `make one with: (umask 077; openssl rand -hex 32 > ${path})`,
    });
  }
  try {
    const text = bytes.toString("latin1").replace(/\r?\n$/, "");
    const [, hex] = DIGEST.exec(text) ?? [];
    if (hex !== undefined) return Buffer.from(hex, "hex");
    if (TOKEN.test(text)) return createHash("sha256").update(text).digest();
    throw new HatchwayError("invalid", `"${path}" holds no token: 32 to 512 of A-Z a-z 0-9 . _ ~ + / - on one line`, {
      hint: `make one with: (umask 077; openssl rand -hex 32 > ${path})`,
    });
  } finally {
    bytes.fill(0);
  }
}
