import { createHmac, hkdfSync } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { describe, onTestFinished, test } from "vitest";
import { HatchwayError } from "#error";
import { decodeKeyBackup } from "#vault/key-backup";
import { createKeyring, openKeyring } from "#vault/keyring";
import type { WaySources } from "#vault/ways";

interface Made extends WaySources {
  keyring: string;
  credentials: string;
  identity: string;
  recipient: string;
}

const PASSPHRASE = "correct horse battery";

/** A keyring with a way of each kind, and what opens each. */
async function withAllWays(): Promise<Made> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-ways-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const [keyring, keyFile, identity] = ["keyring.json", "root.key", "identity.txt"].map((name) => join(folder, name));
  if (keyring === undefined || keyFile === undefined || identity === undefined) throw new Error("unreachable");
  const key = Buffer.alloc(32, 7);
  const secret = await generateX25519Identity();
  const recipient = await identityToRecipient(secret);
  await writeFile(identity, `# made by a test\n${secret}\n`, { mode: 0o600 });
  await writeFile(join(folder, "hatchway-key"), key, { mode: 0o400 });
  await writeFile(join(folder, "hatchway-passphrase"), `${PASSPHRASE}\n`, { mode: 0o400 });
  using ring = await createKeyring(keyring, { keyFile });
  await ring.addWay("tpm", { kind: "systemd-credential", credential: "hatchway-key", key });
  await ring.addWay("age", { kind: "age", recipient, identity });
  await ring.addWay("passphrase", { kind: "passphrase", passphrase: Buffer.from(PASSPHRASE) });
  return { keyring, keyFile, credentials: folder, identity, recipient };
}

async function outcome(made: Made, sources: WaySources): Promise<string> {
  try {
    using ring = await openKeyring(made.keyring, sources);
    return ring ? ring.key(1).bytes.toString("hex") : "none";
  } catch (error) {
    if (error instanceof HatchwayError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

const typed = (passphrase: string) => async (): Promise<Buffer> => Buffer.from(passphrase);

const nothing: WaySources = { keyFile: "/nonexistent/root.key" };

describe("each way to the root key", () => {
  test("is enough on its own, and leads to the same keys", async ({ expect }) => {
    const made = await withAllWays();
    const { keyFile, credentials, identity, keyring } = made;
    const expected = await outcome(made, { keyFile });
    expect(expected).toMatch(/^[0-9a-f]{64}$/);
    using ring = await openKeyring(keyring, { keyFile });
    expect(ring?.ways.map(({ name, kind }) => `${name} ${kind}`)).toEqual([
      "key-file key-file",
      "tpm systemd-credential",
      "age age",
      "passphrase passphrase",
    ]);
    expect(await outcome(made, { ...nothing, credentials })).toBe(expected);
    await rm(join(credentials, "hatchway-key"));
    expect(await outcome(made, nothing)).toBe(expected);
    await rm(identity);
    expect(await outcome(made, { ...nothing, credentials })).toBe(expected);
    expect(await outcome(made, { ...nothing, askPassphrase: typed(PASSPHRASE) })).toBe(expected);
  });

  test("is named when none of them leads there", async ({ expect }) => {
    const made = await withAllWays();
    await rm(made.identity);
    expect(await outcome(made, nothing)).toBe(
      `wrong-key: none of the 4 ways opens the keyring "${made.keyring}": ` +
        'key-file (there is no key file "/nonexistent/root.key", and the store is sealed by it), ' +
        'tpm (there is no credential "hatchway-key"), ' +
        `age (there is no age identity "${made.identity}"), ` +
        'passphrase (there is no terminal to ask for the passphrase, and no credential "hatchway-passphrase")',
    );
  });

  test("that holds something else does not open, and keeps no other from it", async ({ expect }) => {
    const made = await withAllWays();
    const { keyFile, credentials, identity } = made;
    const expected = await outcome(made, { keyFile });
    await writeFile(identity, `${await generateX25519Identity()}\n`);
    await chmod(join(credentials, "hatchway-key"), 0o600);
    await writeFile(join(credentials, "hatchway-key"), Buffer.alloc(32, 8));
    expect(await outcome(made, { keyFile, credentials })).toBe(expected);
    const { credentials: _, ...asked } = { ...made, ...nothing, askPassphrase: typed("incorrect horse") };
    expect(await outcome(made, asked)).toContain("the passphrase does not open the keyring");
  });

  test("by passphrase costs 64 MiB and three passes a guess", async ({ expect }) => {
    const { keyring } = await withAllWays();
    const { ways } = JSON.parse(await readFile(keyring, "utf8")) as { ways: Record<string, unknown>[] };
    expect(ways[3]).toMatchObject({ memory: 65_536, passes: 3, lanes: 4 });
  });

  test("can be taken away but for the last", async ({ expect }) => {
    const made = await withAllWays();
    using ring = await openKeyring(made.keyring, made);
    for (const name of ["key-file", "tpm", "age"]) await ring?.removeWay(name);
    await expect(ring?.removeWay("key-file")).rejects.toMatchObject({ code: "not-found" });
    await expect(ring?.removeWay("passphrase")).rejects.toMatchObject({
      code: "conflict",
      message: '"passphrase" is the last way to the keys',
    });
    expect(await outcome(made, { keyFile: made.keyFile })).toContain("wrong-key: there is no terminal");
    expect(await outcome(made, made)).toMatch(/^[0-9a-f]{64}$/);
  });

  test("has a name of its own", async ({ expect }) => {
    const made = await withAllWays();
    using ring = await openKeyring(made.keyring, made);
    await expect(ring?.addWay("age", { kind: "key-file" })).rejects.toMatchObject({ code: "exists" });
    for (const name of ["", "-a", "A", "a b", "a".repeat(33)]) {
      await expect(ring?.addWay(name, { kind: "key-file" })).rejects.toMatchObject({ code: "invalid" });
    }
  });

  test("is refused where it could not be one", async ({ expect }) => {
    const made = await withAllWays();
    using ring = await openKeyring(made.keyring, made);
    const before = await readFile(made.keyring, "utf8");
    const { identity } = made;
    for (const way of [
      { kind: "passphrase", passphrase: Buffer.from("short") },
      { kind: "age", recipient: "age1nothing!", identity },
      { kind: "age", recipient: `age1${"q".repeat(58)}`, identity },
      { kind: "systemd-credential", credential: "c", key: Buffer.alloc(31) },
    ] as const) {
      const code = way.kind === "systemd-credential" ? "wrong-key" : "invalid";
      await expect(ring?.addWay("new", way), way.kind).rejects.toMatchObject({ code });
    }
    expect(await readFile(made.keyring, "utf8")).toBe(before);
  });
});

test("an edit of any byte of a keyring with every kind of way is noticed, whichever way opens it", async ({
  expect,
}) => {
  const made = await withAllWays();
  const good = await readFile(made.keyring);
  const means = JSON.stringify(JSON.parse(good.toString()));
  for (let at = 0; at < good.length; at++) {
    const edited = Buffer.from(good);
    edited[at] = (edited[at] ?? 0) ^ 1;
    await writeFile(made.keyring, edited);
    const ended = await outcome(made, made);
    if (/^[0-9a-f]{64}$/.test(ended)) expect(JSON.stringify(JSON.parse(edited.toString())), `byte ${at}`).toBe(means);
    else expect(["corrupt", "wrong-key", "unsupported"], ended).toContain(ended.split(":")[0]);
  }
});

test("a keyring of before there were names opens", async ({ expect }) => {
  const made = await withAllWays();
  const { keyFile } = made;
  using ring = await openKeyring(made.keyring, made);
  for (const name of ["tpm", "age", "passphrase"]) await ring?.removeWay(name);
  const expected = await outcome(made, { keyFile });
  const { mac: _, ...written } = JSON.parse(await readFile(made.keyring, "utf8")) as {
    mac: string;
    store: string;
    ways: { sealed: string }[];
  };
  const body = { ...written, ways: [{ kind: "key-file", sealed: written.ways[0]?.sealed }] };
  const storeId = Buffer.from(written.store, "hex");
  const root = ring ? decodeKeyBackup(ring.exportKeys()).root.bytes : Buffer.alloc(32);
  const key = Buffer.from(hkdfSync("sha256", root, storeId, "hatchway 1 keyring mac", 32));
  const mac = createHmac("sha256", key).update(JSON.stringify(body)).digest("hex");
  await writeFile(made.keyring, JSON.stringify({ ...body, mac }));
  expect(await outcome(made, { keyFile })).toBe(expected);
});
