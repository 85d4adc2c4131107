import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "vitest";
import { readRevocations } from "#keygen/revocations";
import { Authority, DAY, pemFile, readRegister } from "#pki/authority";
import { stateOf, type Issued } from "#pki/issued";
import { vmIdOf } from "#pki/profile";

const VM_ID = "00112233445566778899aabbccddeeff";

let folder: string;

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "hw-pki-")), "pki");
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

async function made(): Promise<Authority> {
  return Authority.create(folder, 30);
}

function pemOf(one: Issued): { certificate: X509Certificate; fits: boolean } {
  const bytes = readFileSync(pemFile(folder, one));
  const certificate = new X509Certificate(bytes);
  return { certificate, fits: certificate.checkPrivateKey(createPrivateKey(bytes)) };
}

function revoked(): string[] {
  const list = readRevocations("crl.pem", readFileSync(join(folder, "crl.pem")), readFileSync(join(folder, "ca.crt")));
  return [...list.serials];
}

describe("an authority", () => {
  test("issues each kind for its purpose, under names that OpenSSL reads", async ({ expect }) => {
    await using authority = await made();
    const server = pemOf(
      await authority.issue({ kind: "server", name: "db", hosts: ["db.internal", "192.0.2.7", "2001:db8::7"] }),
    );
    const client = pemOf(await authority.issue({ kind: "client", name: "ci" }, 10));
    const guest = pemOf(await authority.issue({ kind: "guest", name: "web-1", vmId: VM_ID, host: "192.0.2.7:5107" }));
    for (const { certificate, fits } of [server, client, guest]) {
      expect(fits).toBe(true);
      expect(certificate.checkIssued(authority.certificate)).toBe(true);
      expect(certificate.verify(authority.certificate.publicKey)).toBe(true);
      expect(certificate.ca).toBe(false);
    }
    expect(authority.certificate.ca).toBe(true);
    expect(server.certificate.subjectAltName).toBe(
      "DNS:db.internal, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7",
    );
    expect(server.certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(client.certificate.subject).toBe("CN=ci");
    expect(client.certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(guest.certificate.subject).toBeUndefined();
    expect(guest.certificate.subjectAltName).toBe(`URI:hatchway:vm:web-1, URI:hatchway:vm-id:${VM_ID}`);
    expect(vmIdOf(guest.certificate)).toBe(VM_ID);
    expect(vmIdOf(server.certificate)).toBeUndefined();
    expect(vmIdOf(client.certificate)).toBeUndefined();
  });

  test("is a folder that nobody else can look into, with nothing half-made in it", async ({ expect }) => {
    await using authority = await made();
    await authority.issue({ kind: "client", name: "ci" });
    for (const name of readdirSync(folder, { recursive: true }) as string[]) {
      const { mode } = statSync(join(folder, name));
      expect([name, (mode & 0o077).toString(8)]).toEqual([name, "0"]);
      expect(name).not.toMatch(/next$/);
    }
    expect(readFileSync(join(folder, "ca.crt"), "latin1")).not.toContain("PRIVATE");
  });

  test("is not made over another one", async ({ expect }) => {
    await (await made())[Symbol.asyncDispose]();
    const before = readFileSync(join(folder, "ca.key"));
    await expect(made()).rejects.toMatchObject({ code: "exists" });
    expect(readFileSync(join(folder, "ca.key"))).toEqual(before);
  });

  test("issues nothing over what is there, and nothing under a bad name", async ({ expect }) => {
    await using authority = await made();
    const one = await authority.issue({ kind: "client", name: "ci" });
    await expect(authority.issue({ kind: "client", name: "ci" })).rejects.toMatchObject({ code: "exists" });
    writeFileSync(join(folder, "client/theirs.pem"), "");
    await expect(authority.issue({ kind: "client", name: "theirs" })).rejects.toMatchObject({ code: "exists" });
    for (const name of ["", "../ca", "a/b", "a b", "é", "-a", "x".repeat(64)]) {
      await expect(authority.issue({ kind: "client", name }), name).rejects.toMatchObject({ code: "invalid" });
    }
    expect(pemOf(one).certificate.serialNumber).toBe(one.serial);
  });

  test("issues to a VM again whose name an earlier one had, and to it under no other id", async ({ expect }) => {
    await using authority = await made();
    const first = await authority.issue({ kind: "guest", name: "web-1", vmId: VM_ID, host: "192.0.2.7:5107" });
    const file = readFileSync(pemFile(folder, first), "utf8");
    expect(file).toMatch(
      /^Host: 192\.0\.2\.7:5107\n-----BEGIN CERT.*PRIVATE KEY-----\n-----BEGIN CERT.*CERTIFICATE-----\n$/s,
    );
    await expect(authority.issue({ kind: "guest", name: "web-1", vmId: VM_ID })).rejects.toMatchObject({
      code: "exists",
    });
    for (const vmId of [undefined, "", "web-1", VM_ID.toUpperCase()]) {
      const bearer = { kind: "guest" as const, name: "web-2", ...(vmId !== undefined && { vmId }) };
      await expect(authority.issue(bearer), vmId ?? "none").rejects.toMatchObject({ code: "invalid" });
    }
    const later = VM_ID.replace("00", "ff");
    const second = await authority.issue({ kind: "guest", name: "web-1", vmId: later });
    expect(vmIdOf(pemOf(second).certificate)).toBe(later);
    const renewed = await authority.renew(second);
    expect(vmIdOf(pemOf(renewed).certificate)).toBe(later);
    expect(await readRegister(folder)).toEqual(authority.register);
  });

  test("gives nothing more time than it has itself, until it is renewed for the same key", async ({ expect }) => {
    await using authority = await made();
    await expect(authority.issue({ kind: "client", name: "ci" }, 31)).rejects.toMatchObject({ code: "invalid" });
    const before = await authority.issue({ kind: "client", name: "ci" });
    expect(before.notAfter).toBe(Date.parse(authority.certificate.validTo));
    await authority.renewItself(400);
    const renewed = new X509Certificate(readFileSync(join(folder, "ca.crt")));
    expect(renewed.validToDate.getTime()).toBeGreaterThan(Date.now() + 399 * DAY);
    expect(pemOf(before).certificate.verify(renewed.publicKey)).toBe(true);
    expect(renewed.serialNumber).not.toBe(authority.certificate.serialNumber);
    expect(revoked()).toEqual([]);
  });

  test("renews with another key and serial, and the old one stays good until it ends", async ({ expect }) => {
    await using authority = await made();
    const old = await authority.issue({ kind: "server", name: "db", hosts: ["db"] });
    const first = pemOf(old).certificate;
    const renewed = await authority.renew(old);
    const second = pemOf(renewed).certificate;
    expect([second.subjectAltName, second.subject]).toEqual([first.subjectAltName, first.subject]);
    expect(second.serialNumber).not.toBe(first.serialNumber);
    expect(second.publicKey.equals(first.publicKey)).toBe(false);
    const { register } = authority;
    expect(register.certificates.map((one) => stateOf(one, register, Date.now()))).toEqual(["replaced", "valid"]);
    expect(revoked()).toEqual([]);
  });

  test("revokes all of a name that are still good, and the name is free then", async ({ expect }) => {
    await using authority = await made();
    const other = await authority.issue({ kind: "client", name: "other" });
    const old = await authority.issue({ kind: "client", name: "ci" });
    const renewed = await authority.renew(old);
    expect(await authority.revoke(old)).toBe(2);
    expect(revoked().toSorted()).toEqual([old.serial, renewed.serial].toSorted());
    expect(existsSync(pemFile(folder, old))).toBe(false);
    expect(await authority.revoke(old)).toBe(0);
    const gone = authority.register.certificates.find(({ name }) => name === "ci");
    await expect(authority.renew(gone ?? old)).rejects.toMatchObject({ code: "conflict" });
    const again = await authority.issue({ kind: "client", name: "ci" });
    expect(revoked()).not.toContain(again.serial);
    expect(revoked()).not.toContain(other.serial);
  });

  test("has what it issued on record, so that a list that was cut off is written the next time", async ({ expect }) => {
    const serials: string[] = [];
    {
      await using authority = await made();
      serials.push((await authority.issue({ kind: "client", name: "ci" })).serial);
      await authority.revoke({ kind: "client", name: "ci" });
    }
    rmSync(join(folder, "crl.pem"));
    await using authority = await Authority.open(folder);
    expect(await readRegister(folder)).toEqual(authority.register);
    await authority.revoke({ kind: "client", name: "ci" });
    expect(revoked()).toEqual(serials);
  });

  test("with a record or a key that is not its own is refused", async ({ expect }) => {
    await (await made())[Symbol.asyncDispose]();
    const record = join(folder, "issued.json");
    const good = readFileSync(record);
    for (const bad of [
      "",
      "{",
      "[]",
      '{"format":2,"crl":1,"certificates":[]}',
      '{"format":1,"crl":1,"certificates":[{}]}',
    ]) {
      writeFileSync(record, bad);
      await expect(Authority.open(folder), bad).rejects.toMatchObject({ code: "corrupt" });
    }
    writeFileSync(record, good);
    await (await Authority.create(join(folder, "other"), 1))[Symbol.asyncDispose]();
    writeFileSync(join(folder, "ca.key"), readFileSync(join(folder, "other/ca.key")));
    await expect(Authority.open(folder)).rejects.toMatchObject({ code: "corrupt" });
    truncateSync(join(folder, "ca.key"));
    await expect(Authority.open(folder)).rejects.toMatchObject({ code: "corrupt" });
    rmSync(join(folder, "ca.key"));
    await expect(Authority.open(folder)).rejects.toMatchObject({ code: "not-found" });
  });
});
