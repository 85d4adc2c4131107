import { Decrypter, Encrypter, identityToRecipient } from "age-encryption";
import { test } from "vitest";
import { ageRecipient, generateAgeKey } from "#keygen/age-identity";
import { parseIdentity } from "#protocol/age-identity";

test("a key pair is what age takes, and another each time", async ({ expect }) => {
  const pairs = Array.from({ length: 20 }, () => generateAgeKey());
  for (const { identity, recipient } of pairs) {
    const line = identity.toString("latin1");
    expect(line).toMatch(/^AGE-SECRET-KEY-1[0-9A-Z]{58}\n$/);
    expect(await identityToRecipient(line.trimEnd())).toBe(recipient);
    expect(ageRecipient(parseIdentity(identity))).toBe(recipient);
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const decrypter = new Decrypter();
    decrypter.addIdentity(line.trimEnd());
    expect(await decrypter.decrypt(await encrypter.encrypt("sealed"), "text")).toBe("sealed");
  }
  expect(new Set(pairs.map(({ recipient }) => recipient)).size).toBe(20);
});
