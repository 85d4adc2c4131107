import { randomBytes } from "node:crypto";
import { Decrypter, Encrypter, generateIdentity, identityToRecipient } from "age-encryption";
import { describe, test } from "vitest";
import type { BackupReaders } from "#backup";
import { joined, unseal } from "#test/kit/backup";
import { refusal } from "#test/kit/vault";
import { ageHeader } from "./age-header.ts";
import { AgeWriter, sealedSize } from "./age-stream.ts";

const identity = await generateIdentity();
const recipients = { recipients: [await identityToRecipient(identity)] };
const opener = { path: "identity.txt", identity: Buffer.from(`# a comment\n${identity}\n`) };
const CHUNK = 65_536;
const SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7];

async function seal(readers: BackupReaders, plain: Buffer, step = 10_000): Promise<Buffer> {
  const { header, fileKey } = await ageHeader(readers);
  const pieces: Buffer[] = [];
  using writer = await AgeWriter.begin(header, fileKey, async (bytes) => void pieces.push(Buffer.from(bytes)));
  for (let at = 0; at < plain.length; at += step) await writer.write(plain.subarray(at, at + step));
  await writer.end();
  const file = Buffer.concat(pieces);
  if (file.length !== sealedSize(header, plain.length)) throw new Error("another size than was said");
  return file;
}

describe("an age file", () => {
  test("is read by age as it was written, and the other way round", async ({ expect }) => {
    for (const size of SIZES) {
      const plain = randomBytes(size);
      const file = await seal(recipients, plain);
      const decrypter = new Decrypter();
      decrypter.addIdentity(identity);
      expect(plain.equals(await decrypter.decrypt(file))).toBe(true);
      expect(plain.equals(await joined(unseal(file, opener)))).toBe(true);
      const encrypter = new Encrypter();
      encrypter.addRecipient(recipients.recipients[0] ?? "");
      expect(plain.equals(await joined(unseal(Buffer.from(await encrypter.encrypt(plain)), opener)))).toBe(true);
    }
  });

  test("by a passphrase is opened by it and by no other", async ({ expect }) => {
    const file = await seal({ passphrase: Buffer.from("correct horse") }, Buffer.from("plain"));
    expect((await joined(unseal(file, { passphrase: Buffer.from("correct horse") }))).toString()).toBe("plain");
    expect(await refusal(joined(unseal(file, { passphrase: Buffer.from("correct hors") })))).toBe("wrong-key");
    expect(await refusal(joined(unseal(file, opener)))).toBe("wrong-key");
  });

  test("cut or edited anywhere is refused", async ({ expect }) => {
    const file = await seal(recipients, randomBytes(2 * CHUNK + 100));
    for (let at = 0; at < file.length; at += 1_021) {
      const cut = await refusal(joined(unseal(file.subarray(0, at), opener)));
      expect(["corrupt", "wrong-key"], `cut at ${at}`).toContain(cut);
      const edited = Buffer.from(file);
      edited[at] = (edited[at] ?? 0) ^ 1;
      expect(["corrupt", "wrong-key", "unsupported"], `edited at ${at}`).toContain(
        await refusal(joined(unseal(edited, opener))),
      );
    }
    const edge = file.length - 100 - 16;
    for (const at of [edge, edge - CHUNK - 16]) {
      expect(await refusal(joined(unseal(file.subarray(0, at), opener)))).toBe("corrupt");
    }
    expect(await refusal(joined(unseal(Buffer.concat([file, Buffer.alloc(1)]), opener)))).toBe("corrupt");
  });

  test("says what is wrong with who is to read it", async ({ expect }) => {
    for (const [recipient, code] of [
      ["age1nobody", "invalid"],
      ["ssh-ed25519 AAAA", "invalid"],
      ["age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "unsupported"],
    ] as const) {
      expect(await refusal(ageHeader({ recipients: [recipient] })), recipient).toBe(code);
    }
    const other = { path: "other.txt", identity: Buffer.from(await generateIdentity()) };
    expect(await refusal(joined(unseal(await seal(recipients, Buffer.from("x")), other)))).toBe("wrong-key");
    const armored = Buffer.from("-----BEGIN AGE ENCRYPTED FILE-----\n");
    expect(await refusal(joined(unseal(armored, opener)))).toBe("unsupported");
    expect(await refusal(joined(unseal(Buffer.from("age-encryption.org/v2\n"), opener)))).toBe("unsupported");
    expect(await refusal(joined(unseal(Buffer.from("something else"), opener)))).toBe("corrupt");
  });
});
