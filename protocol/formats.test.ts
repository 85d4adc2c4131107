// docs/formats.md is checked against the code: its examples are read by the parsers, its tables by their own examples.
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "vitest";
import { exitCode } from "#error";
import { asciiBytes, parseJson, type JsonObject } from "./json.ts";
import { encodeManifest, MAX_MANIFEST_SIZE, parseManifest } from "./manifest.ts";
import * as names from "./names.ts";
import { encodeHeader } from "./ustar.ts";

const root = new URL("../", import.meta.url);
const text = readFileSync(new URL("docs/formats.md", root), "utf8");

interface Block {
  /** The words after the opening fence. */
  words: string[];
  body: string;
}

const blocks: Block[] = Array.from(text.matchAll(/^```([^\n]*)\n([\s\S]*?)^```$/gm), ([, words = "", body = ""]) => ({
  words: words.split(" "),
  body,
}));

const fenced = (kind: string): Block[] => blocks.filter(({ words }) => words[0] === kind);

/** Rows of the table that has this header line, as cells. */
function table(header: string): string[][] {
  const [, after] = text.split(`${header}\n`, 2);
  const rows = (after ?? "").split("\n\n")[0]?.trimEnd().split("\n").slice(1) ?? [];
  return rows.map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const codes = (cell: string): string[] => Array.from(cell.matchAll(/`([^`]+)`/g), ([, code = ""]) => code);

interface Message {
  start: string;
  headers: Map<string, string>;
  body: string;
}

function message({ body: block }: Block): Message {
  const [head = "", body = ""] = block.trimEnd().split("\n\n");
  const [start = "", ...lines] = head.split("\n");
  const headers = lines.map((line) => line.split(": ") as [string, string]);
  return { start, headers: new Map(headers), body };
}

describe("docs/formats.md", () => {
  it("has examples of every kind, and none of a kind that is not checked", ({ expect }) => {
    const kinds = blocks.map(({ words }) => words.slice(0, 2).join(" "));
    expect(kinds).toEqual([
      "json manifest",
      "",
      "hexdump good-one-file.tar",
      "http claim",
      "http authorised",
      "http enrol",
      "http bundle",
      "http bundle-answer",
      "http receipt",
      "json error",
      "",
      "",
      "json keyring",
      "",
      "",
      "json audit",
      "",
    ]);
  });

  it("shows manifests that are accepted, keys in their order", ({ expect }) => {
    for (const { body } of fenced("json").filter(({ words }) => words[1] === "manifest")) {
      const compact = asciiBytes(JSON.stringify(JSON.parse(body)));
      expect(encodeManifest(parseManifest(compact))).toEqual(compact);
    }
  });

  it("shows the bytes of vectors as they are", ({ expect }) => {
    for (const { words, body } of fenced("hexdump")) {
      const bytes = readFileSync(new URL(`test/vectors/bundle/${words[1]}`, root));
      const lines: string[] = [];
      for (let at = Number(words[2]); at < Number(words[3]); at += 16) {
        const row = bytes.subarray(at, at + 16);
        if (row.every((byte) => byte === 0)) continue;
        const hex = row.toString("hex").replace(/.{4}/g, "$& ");
        const plain = row.toString("latin1").replace(/[^ -~]/g, ".");
        lines.push(`${at.toString(16).padStart(8, "0")}: ${hex} ${plain}\n`);
      }
      expect(body).toBe(lines.join(""));
    }
  });

  it("shows messages whose lengths, keys and revisions are right", ({ expect }) => {
    for (const block of fenced("http")) {
      const { start, headers, body } = message(block);
      const request = /^(?:GET|POST) (\/v1\/[^ ]+) HTTP\/1\.1$/.exec(start);
      if (request) {
        const revision = /receipts\/(.*)|have=([^&]*)/.exec(request[1] ?? "");
        if (revision) expect(names.revisionProblem(revision[1] ?? revision[2] ?? "")).toBeUndefined();
        expect(headers.get("Content-Length"), start).toBe(body === "" ? undefined : `${body.length}`);
        expect(headers.get("Authorization") ?? "Hatchway ".padEnd(73, "0")).toMatch(/^Hatchway [0-9a-f]{64}$/);
      } else {
        expect(start).toBe("HTTP/1.1 200 OK");
        expect(names.revisionProblem(headers.get("ETag")?.slice(1, -1) ?? "")).toBeUndefined();
      }
      if (body !== "") expect(JSON.stringify(parseJson(asciiBytes(body), "example"))).toBe(body);
    }
  });

  it("shows a claim, a receipt and an error with the keys that it explains", ({ expect }) => {
    const body = (kind: string): JsonObject => {
      const block = fenced("http").find(({ words }) => words[1] === kind) ?? { words: [], body: "" };
      return parseJson(asciiBytes(message(block).body), kind) as JsonObject;
    };
    expect(Object.keys(body("claim"))).toEqual(["key"]);
    expect(body("claim")["key"]).toMatch(/^[0-9a-f]{64}$/);
    const explained = table("| Key | Value |").map(([key = ""]) => codes(key)[0]);
    expect(Object.keys(body("receipt"))).toEqual(explained);
    const error = JSON.parse(fenced("json").find(({ words }) => words[1] === "error")?.body ?? "") as object;
    expect(Object.keys(error)).toEqual(["error", "code"]);
    expect(Object.keys(exitCode)).toContain((error as { code: string }).code);
  });

  it("gives grammars whose examples are taken and refused", ({ expect }) => {
    const problems: Record<string, (value: string) => string | undefined> = {
      secret: names.secretNameProblem,
      vm: names.vmNameProblem,
      revision: names.revisionProblem,
      path: names.pathProblem,
      link: names.linkProblem,
      env: names.envNameProblem,
      mode: names.modeProblem,
      user: names.userNameProblem,
    };
    const rows = table("| What | Grammar | Taken, for example | Refused, for example |");
    expect(rows.map(([what]) => what)).toEqual(Object.keys(problems));
    for (const [what = "", , taken = "", refused = ""] of rows) {
      expect(codes(taken).length * codes(refused).length).toBeGreaterThan(0);
      for (const value of codes(taken)) expect(problems[what]?.(value), `${what} ${value}`).toBeUndefined();
      for (const value of codes(refused)) expect(problems[what]?.(value), `${what} ${value}`).toBeTypeOf("string");
    }
  });

  it("gives the limits of the code", ({ expect }) => {
    const limits = table("| Limit | Value |").map(([, value = ""]) => Number(value.replaceAll(",", "")));
    expect(limits).toEqual([
      names.MAX_VALUE_SIZE,
      names.MAX_ENTRIES,
      names.MAX_BUNDLE_SIZE,
      MAX_MANIFEST_SIZE,
      names.MAX_ID,
    ]);
  });

  it("draws a header whose fields fill 512 bytes and lie where the writer puts them", ({ expect }) => {
    const rows = table("| Offset | Size | Field | Holds |");
    let end = 0;
    for (const [offset, size] of rows) {
      expect(Number(offset)).toBe(end);
      end += Number(size);
    }
    expect(end).toBe(512);
    const path = `${"p".repeat(100)}/name`;
    const header = { path, mode: 1, uid: 2, gid: 3, size: 4, mtime: 5, uname: "owner", gname: "group" };
    const block = Buffer.from(encodeHeader(header));
    const field = (name: string): string | undefined => {
      const [offset, size] = rows.find((row) => row[2] === name) ?? [];
      return block.toString("latin1", Number(offset), Number(offset) + Number(size)).replace(/\0+$/, "");
    };
    const fields = ["name", "prefix", "mode", "uid", "gid", "size", "mtime", "type", "uname", "gname"].map(field);
    const numbers = ["0000001", "0000002", "0000003", "00000000004", "00000000005"];
    expect(fields).toEqual(["name", "p".repeat(100), ...numbers, "0", "owner", "group"]);
    expect(field("magic, version")).toBe("ustar\u000000");
  });

  it("names only files that are there", ({ expect }) => {
    const paths = codes(text.replace(/^```[\s\S]*?^```$/gm, "")).filter((code) =>
      /^(?:protocol|src|test|scripts|docs)\//.test(code),
    );
    expect(paths.length).toBeGreaterThan(5);
    for (const path of paths) expect(existsSync(new URL(path, root)), path).toBe(true);
  });
});
