import { Decrypter, Encrypter, identityToRecipient } from "age-encryption";
import { test } from "vitest";
import { generateAgeKey, recipientOf } from "#keygen/age-identity";

test("a key pair is what age takes, and another each time", async ({ expect }) => {
  const pairs = Array.from({ length: 20 }, () => generateAgeKey());
  for (const { identity, recipient } of pairs) {
    const line = identity.toString("latin1");
    expect(line).toMatch(/^AGE-SECRET-KEY-1[0-9A-Z]{58}\n$/);
    expect(await identityToRecipient(line.trimEnd())).toBe(recipient);
    expect(recipientOf(Buffer.concat([Buffer.from("# created: now\n"), identity]))).toBe(recipient);
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const decrypter = new Decrypter();
    decrypter.addIdentity(line.trimEnd());
    expect(await decrypter.decrypt(await encrypter.encrypt("sealed"), "text")).toBe("sealed");
  }
  expect(new Set(pairs.map(({ recipient }) => recipient)).size).toBe(20);
});

test("what is no identity has no recipient", ({ expect }) => {
  const { identity } = generateAgeKey();
  expect(recipientOf(Buffer.from("AGE-PLUGIN-YUBIKEY-1QQQ"))).toBeUndefined();
  expect(recipientOf(identity.subarray(0, 70))).toBeUndefined();
  for (const at of [16, 40, 73]) {
    const changed = Buffer.from(identity);
    changed[at] = changed[at] === 0x51 ? 0x50 : 0x51;
    expect(recipientOf(changed)).toBeUndefined();
  }
});
