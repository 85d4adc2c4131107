// docs/formats.md, the stored formats: what it draws is what is written.
import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { Audit } from "#vault/audit";
import { Key, sealRecord, sealValue } from "#vault/envelope";
import { createKeyring, type Keyring } from "#vault/keyring";

const text = readFileSync(new URL("../../docs/formats.md", import.meta.url), "utf8");

function example(name: string): Record<string, unknown> {
  const [, body = ""] = new RegExp(`^\`\`\`json ${name}\n([^]*?)^\`\`\`$`, "m").exec(text) ?? [];
  return JSON.parse(body) as Record<string, unknown>;
}

/** The tables of section 7: offset, size, what it holds. */
function drawn(heading: string): string[][] {
  const [, after = ""] = text.split(heading, 2);
  const rows = after.split("| Offset | Size | Holds |\n|---|---|---|\n")[1]?.split("\n\n")[0] ?? "";
  return rows.split("\n").map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe("the stored formats of docs/formats.md", () => {
  const folder = mkdtempSync(join(tmpdir(), "hatchway-formats-"));
  const place = Buffer.from("place");
  let keyring: Keyring;

  beforeAll(async () => {
    keyring = await createKeyring(join(folder, "keyring.json"), { keyFile: join(folder, "root.key") });
  });
  afterAll(() => {
    keyring[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [heading, magic, sealed] of [
    ["A **record**", "HWR\u0001", (plain: Buffer) => sealRecord(keyring, plain, place)],
    ["A **value**", "HWV\u0001", (plain: Buffer) => sealValue(keyring, plain, place)],
  ] as const) {
    it(`draws ${heading} with the fields and the length that it has`, ({ expect }) => {
      const plain = Buffer.alloc(100, "x");
      const bytes = sealed(plain);
      let end = 0;
      for (const [offset = "", size = ""] of drawn(heading)) {
        const at = offset.includes("n") ? Number(offset.split(" + ")[0]) + plain.length : Number(offset);
        expect(at).toBe(end);
        end += size === "n" ? plain.length : Number(size);
      }
      expect(bytes.length).toBe(end);
      expect(bytes.toString("latin1", 0, 4)).toBe(magic);
      expect(bytes.readUInt32BE(4)).toBe(keyring.current);
    });
  }

  it("shows a keyring with the keys that one has, and sealed keys of the length that is said", ({ expect }) => {
    const shown = example("keyring");
    const written = JSON.parse(readFileSync(join(folder, "keyring.json"), "utf8")) as typeof shown;
    expect(Object.keys(shown)).toEqual(Object.keys(written));
    for (const list of ["ways", "terms"]) {
      const [one] = written[list] as [Record<string, string>];
      expect(Object.keys((shown[list] as [object])[0])).toEqual(Object.keys(one));
      expect(Buffer.from(one["sealed"] ?? "", "base64").length).toBe(60);
    }
    expect(readFileSync(join(folder, "root.key")).length).toBe(32);
  });

  it("shows an audit line with its keys in order, and how its MAC is made", async ({ expect }) => {
    const path = join(folder, "audit.jsonl");
    using key = Key.random();
    const { audit } = await Audit.open(path, key, undefined);
    const { seq: _seq, time: _time, phase: _phase, mac: _mac, ...fields } = example("audit");
    await audit.record([fields as never], true);
    await audit.close();
    const line = readFileSync(path, "utf8").trimEnd();
    const written = JSON.parse(line) as Record<string, string>;
    expect(Object.keys(example("audit"))).toEqual(Object.keys(written));
    const body = line.replace(/,"mac":"[^"]*"/, "");
    const mac = createHmac("sha256", key.bytes).update(Buffer.alloc(32)).update(body).digest("hex");
    expect(written["mac"]).toBe(mac);
  });
});
