import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, boolean, constantFrom, dictionary, property, string } from "fast-check";
import { describe, test } from "vitest";
import { HatchwayError } from "#error";
import { readBitwarden } from "#import/bitwarden";
import { readEnvFile } from "#import/env-file";
import { readFolder } from "#import/folder";
import type { Found } from "#import/imported";
import { readJsonSecrets } from "#import/json";
import { bytesOf, parseJsonBytes } from "#import/json-bytes";

function values({ secrets }: Found): Record<string, string> {
  return Object.fromEntries(secrets.map(({ name, value }) => [name, value.toString()]));
}

function refusal(act: () => unknown): string {
  try {
    act();
    return "done";
  } catch (error) {
    if (error instanceof HatchwayError) return error.message;
    throw error;
  }
}

describe("an env file", () => {
  test("is read as shells and docker write it, and nothing is expanded", ({ expect }) => {
    const text = ["# a comment", "", "PLAIN=value # and a comment", "SPACED =not-a-name"].join("\n");
    expect(refusal(() => readEnvFile(Buffer.from(text)))).toContain("line 4 is not NAME=VALUE");
    const good = [
      "PLAIN=value # and a comment\r",
      "HASH=a#b",
      "  export EXPORTED=a=b $HOME ",
      "EMPTY=",
      "SINGLE='as it\\n stands # $x'",
      'DOUBLE="a\\n\\"b\\"\\t$c \\q" # comment',
      "LINES='first",
      "second'",
      "LAST=end",
    ].join("\n");
    const found = readEnvFile(Buffer.from(good));
    expect(values(found)).toEqual({
      PLAIN: "value",
      HASH: "a#b",
      EXPORTED: "a=b $HOME",
      EMPTY: "",
      SINGLE: "as it\\n stands # $x",
      DOUBLE: 'a\n"b"\t$c \\q',
      LINES: "first\nsecond",
      LAST: "end",
    });
    expect(found.secrets[0]?.metadata).toEqual({ env: "PLAIN", file: false });
  });

  test.for([
    ["NAME", "line 1 is not NAME=VALUE"],
    ["A=1\n1B=2", "line 2 is not NAME=VALUE"],
    ["A='x\ny", "line 1 has a quote that does not end"],
    ["A='x\ny' z", "line 2 goes on after the closing quote"],
    ["LD_PRELOAD=x", 'line 1 has a variable "LD_PRELOAD", which would change'],
  ] as const)("%j is refused with its line and without its value", ([text, message], { expect }) => {
    expect(refusal(() => readEnvFile(Buffer.from(text)))).toContain(message);
  });

  test("of any bytes is read or refused, and never ends in anything else", ({ expect }) => {
    assert(
      property(string({ unit: constantFrom(..."A='\"\\\n #$\0é".split("")) }), (text) => {
        expect(typeof refusal(() => readEnvFile(Buffer.from(text)))).toBe("string");
      }),
    );
  });
});

describe("JSON", () => {
  test("that holds values is decoded to the bytes that JSON.parse gives", ({ expect }) => {
    assert(
      property(dictionary(string(), string({ unit: "grapheme" })), boolean(), (object, escaped) => {
        const text = JSON.stringify(object);
        const ascii = text.replaceAll(
          /[\u0080-\uffff]/g,
          (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
        );
        const { secrets } = readJsonSecrets(Buffer.from(escaped ? ascii : text));
        expect(secrets.map(({ name, value }) => [name, value.toString()])).toEqual(Object.entries(object));
      }),
    );
  });

  test("is taken only where JSON.parse takes it", ({ expect }) => {
    assert(
      property(string({ unit: constantFrom(...'{}[]",:\\u0123dnte.- '.split("")) }), (text) => {
        const ours = refusal(() => {
          const json = parseJsonBytes(Buffer.from(text));
          bytesOf(json);
        });
        if (ours === "done" && !text.includes("\\")) expect(() => JSON.parse(text) as unknown).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });

  test.for([
    ["[]", "is not an object of names and values"],
    ['{"a": 1}', 'the value of "a" is not a string'],
    ['{"a": {"b": "hunter2"}}', 'the value of "a" is not a string'],
    ['{"a": "x", "a": "y"}', "a key is there twice"],
    ['{"a": "hunter2"', '"," or "}" is to follow a member'],
    ['{"a": "hunter2', "a string does not end"],
    ['{"a": "\\ud800hunter2"}', "half a surrogate pair"],
    ['{"a": "hunter2"} x', "something follows it"],
    ["[".repeat(40), "nested deeper than 32"],
  ] as const)("%j is refused, and nothing of it shown", ([text, message], { expect }) => {
    const said = refusal(() => readJsonSecrets(Buffer.from(text)));
    expect(said).toContain(message);
    expect(said).not.toContain("hunter2");
  });
});

function login(id: string, name: string, password: string): object {
  return {
    id,
    type: 1,
    name,
    folderId: "f1",
    notes: "a note of a login",
    login: { username: "ada", password, totp: null },
    fields: [
      { name: "API key", value: "hidden", type: 1 },
      { name: "shown", value: "text", type: 0 },
    ],
  };
}

describe("a Bitwarden export", () => {
  const items = [
    login("11111111-0", "My DB (prod)", 'pa"ss'),
    login("22222222-0", "twice", "one"),
    login("33333333-0", "twice", "two"),
    { id: "4", type: 2, name: "note", notes: "line\nline" },
    { id: "5", type: 5, name: "key", notes: null, sshKey: { privateKey: "PEM", publicKey: "x" } },
    { id: "6", type: 3, name: "card", card: { number: "1" } },
  ];
  const file = (more: object): Buffer =>
    Buffer.from(JSON.stringify({ folders: [{ id: "f1", name: "Shop" }], items, ...more }));

  test("gives passwords, notes, keys and hidden fields under names that we have", ({ expect }) => {
    const found = readBitwarden(file({ encrypted: false }));
    expect(values(found)).toEqual({
      "My-DB-prod": 'pa"ss',
      "My-DB-prod.API-key": "hidden",
      "twice-22222222": "one",
      "twice-22222222.API-key": "hidden",
      "twice-33333333": "two",
      "twice-33333333.API-key": "hidden",
      note: "line\nline",
      key: "PEM",
    });
    expect(found.secrets[0]?.metadata).toEqual({
      description: "My DB (prod)",
      labels: { username: "ada", folder: "Shop" },
    });
    expect(found.skipped).toEqual([{ what: "card", why: "it holds no password, key or note" }]);
  });

  test("that is encrypted, or is none, is refused", ({ expect }) => {
    expect(refusal(() => readBitwarden(file({ encrypted: true })))).toBe("the export is encrypted");
    expect(refusal(() => readBitwarden(Buffer.from("{}")))).toContain("it has no array of items");
  });
});

test("a folder gives each file's bytes, mode and owner, and follows no link", ({ expect }) => {
  const folder = mkdtempSync(join(tmpdir(), "hatchway-import-"));
  try {
    writeFileSync(join(folder, "db"), Buffer.from([0, 255, 10]));
    chmodSync(join(folder, "db"), 0o440);
    writeFileSync(join(folder, ".hidden"), "x");
    mkdirSync(join(folder, "sub"));
    symlinkSync("/etc/passwd", join(folder, "link"));
    const { secrets, skipped } = readFolder(folder);
    const metadata = { permissions: "0440", uid: process.getuid?.(), gid: process.getgid?.() };
    expect(secrets).toEqual([{ name: "db", value: Buffer.from([0, 255, 10]), metadata }]);
    expect(skipped.map(({ what }) => what)).toEqual([".hidden", "link", "sub"]);
    expect(refusal(() => readFolder(join(folder, "absent")))).toContain("cannot read the folder");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
