import { describe, it } from "vitest";
import { parseIdentity } from "#agent/identity";
import type { Sys } from "#agent/sys";
import { tlsFault } from "#agent/tls";

const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
const KEY = "-----BEGIN PRIVATE KEY-----\nMIG=\n-----END PRIVATE KEY-----\n";
const wiping = { wipe: (bytes: Uint8Array) => void bytes.fill(0) } as Sys;

function parse(text: string): ReturnType<typeof parseIdentity> {
  return parseIdentity(wiping, new TextEncoder().encode(text), "tls.pem");
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function words(error: number, findings = 0, alert = -1): string {
  return tlsFault({ error, findings, alert }, "").message;
}

describe("what a guest shows by TLS", () => {
  it("is its own up to the key, and its host's authorities behind it", ({ expect }) => {
    for (const own of [CERTIFICATE + KEY, CERTIFICATE + CERTIFICATE + KEY]) {
      const { host, own: first, authorities } = parse(`${own}${CERTIFICATE}${CERTIFICATE}`);
      expect([host, textOf(first).trim(), textOf(authorities).trim()]).toEqual([
        undefined,
        own.trim(),
        (CERTIFICATE + CERTIFICATE).trim(),
      ]);
    }
  });

  it("says its host in its first line, or nowhere", ({ expect }) => {
    const rest = CERTIFICATE + KEY + CERTIFICATE;
    expect(parse(`Host: 10.0.2.2:5107\n${rest}`).host).toBe("10.0.2.2:5107");
    expect(parse(`Host: [fd00::1]:5107\n${rest}`).host).toBe("[fd00::1]:5107");
    for (const head of [
      "",
      "# a comment\nHost: a:1\n",
      "host: a:1\n",
      "Host: a:1 b\n",
      "Host:a:1\n",
      "Host: a:1\r\n",
      "subject=é\n",
    ]) {
      expect(parse(head + rest).host, head).toBeUndefined();
    }
    expect(parse(`${rest}Host: a:1\n`).host).toBeUndefined();
  });

  it("is refused where a part is missing, and wiped", ({ expect }) => {
    for (const text of ["", CERTIFICATE, KEY, CERTIFICATE + KEY, KEY + CERTIFICATE, CERTIFICATE + CERTIFICATE]) {
      const bytes = new TextEncoder().encode(text);
      expect(() => parseIdentity(wiping, bytes, "tls.pem")).toThrow('"tls.pem" should hold a certificate, its key');
      expect(bytes.every((byte) => byte === 0)).toBe(true);
    }
  });
});

describe("what TLS failed by", () => {
  it("is said in words, with every finding", ({ expect }) => {
    expect(words(0x2700, 0x0c)).toBe(
      "the certificate that the host shows comes from none of the authorities that this guest knows, and is for another name",
    );
    expect(words(0x2700, 0x40)).toBe("the certificate that the host shows is not taken (0x40)");
    expect(words(0x7780, 0, 116)).toBe("the host wants a certificate");
    expect(words(0x7780, 0, 80)).toBe("the host ended TLS with alert 80");
    expect(words(0x6c00)).toBe("TLS with the host failed (Mbed TLS error 0x6c00)");
  });
});
