import { createPrivateKey, createPublicKey, sign, verify, X509Certificate } from "node:crypto";
import { test } from "vitest";
import { generateCertificate, hostProblem } from "#keygen/certificate";
import { generateSshKey } from "#keygen/openssh";
import { randomPassword } from "#keygen/password";
import { pem } from "#keygen/pem";

test("PEM is what base64 says, in whole lines, of any length", ({ expect }) => {
  for (let length = 1; length <= 150; length++) {
    const bytes = Buffer.from(Array.from({ length }, (_, index) => (index * 37) % 256));
    const [head, ...lines] = pem("X", bytes).toString().trimEnd().split("\n");
    expect([head, lines.pop()]).toEqual(["-----BEGIN X-----", "-----END X-----"]);
    expect(lines.join("")).toBe(bytes.toString("base64"));
    expect(lines.slice(0, -1).every((line) => line.length === 64)).toBe(true);
    expect(lines.at(-1)?.length).toBeLessThanOrEqual(64);
  }
});

test("a password has its length and all of its alphabet, about evenly", ({ expect }) => {
  const counts = new Map<string, number>();
  for (const character of randomPassword(30_000, "abc").toString()) {
    counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  expect([...counts.keys()].toSorted()).toEqual(["a", "b", "c"]);
  // 10,000 expected of each; ten standard deviations are 816.
  for (const count of counts.values()) expect(Math.abs(count - 10_000)).toBeLessThan(816);
});

test("an ssh key is laid out as PROTOCOL.key draws it, and its halves belong together", ({ expect }) => {
  for (const comment of ["", "a", "web-1 deploy", "x".repeat(9)]) {
    const { privateKey, publicKey } = generateSshKey(comment);
    const [, base64 = ""] = publicKey.split(" ");
    const body = privateKey.toString().split("\n").slice(1, -2).join("");
    const bytes = Buffer.from(body, "base64");
    expect(bytes.toString("latin1", 0, 15)).toBe("openssh-key-v1\0");
    const outer = strings(bytes.subarray(15 + 4 + 4 + 4 + 4 + 4 + 4));
    expect(outer[0]?.toString("base64")).toBe(base64);
    const inner = outer[1] ?? Buffer.alloc(0);
    expect(inner.length % 8).toBe(0);
    expect(inner.readUInt32BE(0)).toBe(inner.readUInt32BE(4));
    const [kind, key, both, words] = strings(inner.subarray(8), 4);
    expect([kind?.toString(), words?.toString()]).toEqual(["ssh-ed25519", comment]);
    const seed = both?.subarray(0, 32) ?? Buffer.alloc(0);
    const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
    const derived = createPublicKey(createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" }));
    expect(derived.export({ format: "der", type: "spki" }).subarray(-32)).toEqual(key);
    expect(both?.subarray(32)).toEqual(key);
  }
});

/** The first `count` strings (u32 length, bytes), or all. */
function strings(bytes: Buffer, count = Infinity): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length && found.length < count;) {
    const length = bytes.readUInt32BE(at);
    found.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

test.for(["db.internal", "*.example.org", "192.0.2.7", "2001:db8::7", "::1", "2001:db8:1:2:3:4:5:6"])(
  "a certificate is for %s, is its own issuer, and fits its key",
  (host, { expect }) => {
    const made = generateCertificate(host, 30);
    const certificate = new X509Certificate(made.certificate);
    const key = createPrivateKey(made.key);
    expect(certificate.subject).toBe(`CN=${host}`);
    expect(certificate.verify(createPublicKey(key))).toBe(true);
    expect(certificate.checkPrivateKey(key)).toBe(true);
    const name = host.replace("*", "www");
    expect(host.includes(":") || /^[0-9.]+$/.test(host) ? certificate.checkIP(name) : certificate.checkHost(name)).toBe(
      host,
    );
    expect(certificate.fingerprint256.replaceAll(":", "").toLowerCase()).toBe(made.fingerprint);
    expect(Date.parse(certificate.validTo)).toBe(Math.floor(made.notAfter.getTime() / 1000) * 1000);
    const signed = sign("sha256", Buffer.from("x"), key);
    expect(verify("sha256", Buffer.from("x"), certificate.publicKey, signed)).toBe(true);
  },
);

test("names that are no hosts are refused", ({ expect }) => {
  for (const host of ["", "a b", "a..b", "-a", "a/b", "x".repeat(65), "é"]) expect(hostProblem(host)).toBeDefined();
});
