import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { HatchwayError } from "#error";
import { createKeyring, openKeyring } from "#vault/keyring";

interface Made {
  keyring: string;
  keyFile: string;
}

async function made(): Promise<Made> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-keyring-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const places = { keyring: join(folder, "keyring.json"), keyFile: join(folder, "root.key") };
  using ring = await createKeyring(places.keyring, places);
  if (ring.current !== 1) throw new Error("a new keyring has one term");
  return places;
}

/** What opening ends in: "opened", or a HatchwayError's code. Anything else is thrown. */
async function outcome({ keyring, keyFile }: Made): Promise<string> {
  try {
    using ring = await openKeyring(keyring, { keyFile });
    return ring ? "opened" : "none";
  } catch (error) {
    if (error instanceof HatchwayError) return error.code;
    throw error;
  }
}

test("a keyring opens with its key file to the same keys", async ({ expect }) => {
  const { keyring, keyFile } = await made();
  using one = await openKeyring(keyring, { keyFile });
  using two = await openKeyring(keyring, { keyFile });
  expect(one?.key(1).bytes).toEqual(two?.key(1).bytes);
  expect(one?.auditKey.bytes).toEqual(two?.auditKey.bytes);
  expect(new Set([one?.key(1), one?.auditKey, one?.nameKey].map((key) => key?.bytes.toString("hex"))).size).toBe(3);
  for (const path of [keyring, keyFile]) expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(keyFile)).size).toBe(32);
});

test("disposing a keyring wipes every key, and none can be used after", async ({ expect }) => {
  const { keyring, keyFile } = await made();
  const ring = await openKeyring(keyring, { keyFile });
  const keys = [ring?.key(1), ring?.nameKey, ring?.auditKey];
  const bytes = keys.map((key) => key?.bytes);
  ring?.[Symbol.dispose]();
  for (const wiped of bytes) expect(wiped).toEqual(Buffer.alloc(32));
  // Whatever still runs must not go on to seal under zeros.
  for (const key of keys) expect(() => key?.bytes).toThrow("the keys were wiped meanwhile");
});

test("there is no keyring where there is no file", async ({ expect }) => {
  const { keyring, keyFile } = await made();
  await rm(keyring);
  expect(await outcome({ keyring, keyFile })).toBe("none");
});

test("another key file is refused, and one that is missing, short, long or empty", async ({ expect }) => {
  const places = await made();
  for (const bytes of [Buffer.alloc(32), Buffer.alloc(31), Buffer.alloc(33), Buffer.alloc(0)]) {
    await writeFile(places.keyFile, bytes);
    expect(await outcome(places)).toBe("wrong-key");
  }
  await rm(places.keyFile);
  await expect(openKeyring(places.keyring, places)).rejects.toMatchObject({
    code: "wrong-key",
    message: `there is no key file "${places.keyFile}", and the store is sealed by it`,
    hint: "put back the key file that the store was made with",
  });
});

test("a key file or keyring that others can read is refused, with the command that mends it", async ({ expect }) => {
  const places = await made();
  for (const path of [places.keyFile, places.keyring]) {
    for (const mode of [0o644, 0o640, 0o601, 0o620]) {
      await chmod(path, mode);
      await expect(openKeyring(places.keyring, places)).rejects.toMatchObject({
        code: "forbidden",
        message: `"${path}" is open to others: its mode is 0${mode.toString(8)}`,
        hint: `chmod 600 ${path}`,
      });
    }
    await chmod(path, 0o600);
  }
  expect(await outcome(places)).toBe("opened");
});

test("a symbolic link is not followed to a key file", async ({ expect }) => {
  const places = await made();
  const link = `${places.keyFile}.link`;
  await symlink(places.keyFile, link);
  expect(await outcome({ ...places, keyFile: link })).toBe("unavailable");
});

test("an edit of any byte ends in an error that says so, or changes nothing", async ({ expect }) => {
  const places = await made();
  const good = await readFile(places.keyring);
  const means = JSON.stringify(JSON.parse(good.toString()));
  for (let at = 0; at < good.length; at++) {
    for (const change of [1, 0x20, 0x80]) {
      const edited = Buffer.from(good);
      edited[at] = (edited[at] ?? 0) ^ change;
      await writeFile(places.keyring, edited);
      const ended = await outcome(places);
      if (ended !== "opened") expect(["corrupt", "wrong-key", "unsupported"]).toContain(ended);
      else expect(JSON.stringify(JSON.parse(edited.toString())).toLowerCase(), `byte ${at}`).toBe(means.toLowerCase());
    }
  }
});

test("a keyring that is cut anywhere is refused", async ({ expect }) => {
  const places = await made();
  const good = await readFile(places.keyring);
  for (let size = 0; size < good.length - 2; size++) {
    await writeFile(places.keyring, good.subarray(0, size));
    expect(await outcome(places), `${size} bytes`).toBe("corrupt");
  }
});

test.for([
  ["null", "corrupt"],
  ["[]", "corrupt"],
  ["1", "corrupt"],
  ['"x"', "corrupt"],
  ["{}", "corrupt"],
  ['{"format":2}', "unsupported"],
  ['{"format":"1"}', "corrupt"],
] as const)("a keyring that is %s is refused as %s", async ([text, code], { expect }) => {
  const places = await made();
  await writeFile(places.keyring, text);
  expect(await outcome(places)).toBe(code);
});

test("parts of a wrong type are refused, and nothing but HatchwayError is thrown", async ({ expect }) => {
  const places = await made();
  const good = JSON.parse(await readFile(places.keyring, "utf8")) as Record<string, unknown>;
  const wrong = [null, 1, "x", [], [null], [1], ["x"], {}, [{}], [{ kind: "key-file" }], [{ term: 1, sealed: 5 }]];
  for (const key of Object.keys(good)) {
    for (const value of wrong) {
      if (JSON.stringify(value) === JSON.stringify(good[key])) continue;
      await writeFile(places.keyring, JSON.stringify({ ...good, [key]: value }));
      expect(["corrupt", "wrong-key", "unsupported"]).toContain(await outcome(places));
    }
    const { [key]: _, ...without } = good;
    await writeFile(places.keyring, JSON.stringify(without));
    expect(["corrupt", "wrong-key", "unsupported"], `without ${key}`).toContain(await outcome(places));
  }
});
