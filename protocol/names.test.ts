import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { describe, it } from "vitest";
import {
  envNameProblem,
  idProblem,
  linkProblem,
  modeProblem,
  pathProblem,
  revisionProblem,
  secretNameProblem,
  userNameProblem,
  vmNameProblem,
} from "./names.ts";
import { encodeHeader } from "./ustar.ts";

type Verdicts<T> = { good: T[]; bad: T[] };
type NameVectors = Record<Grammar, Verdicts<string>> & { id: Verdicts<number> };
type Grammar = "secret" | "vm" | "revision" | "path" | "link" | "env" | "mode" | "user";

const vectors = JSON.parse(readFileSync(new URL("../test/vectors/names.json", import.meta.url), "utf8")) as NameVectors;

const problems: Record<Grammar, (value: string) => string | undefined> = {
  secret: secretNameProblem,
  vm: vmNameProblem,
  revision: revisionProblem,
  path: pathProblem,
  link: linkProblem,
  env: envNameProblem,
  mode: modeProblem,
  user: userNameProblem,
};

const header = { mode: 0o600, uid: 0, gid: 0, uname: "", gname: "", size: 0, mtime: 0 };

describe("names", () => {
  for (const [grammar, problemOf] of Object.entries(problems) as [Grammar, (typeof problems)[Grammar]][]) {
    it(`takes the good and refuses the bad vectors of ${grammar}`, ({ expect }) => {
      for (const value of vectors[grammar].good) expect(problemOf(value), JSON.stringify(value)).toBeUndefined();
      for (const value of vectors[grammar].bad) expect(problemOf(value), JSON.stringify(value)).toBeTypeOf("string");
    });
  }

  it("takes the good and refuses the bad vectors of id", ({ expect }) => {
    for (const value of vectors.id.good) expect(idProblem(value), `${value}`).toBeUndefined();
    for (const value of [...vectors.id.bad, Number.NaN]) expect(idProblem(value), `${value}`).toBeTypeOf("string");
  });

  it("takes no path or link that means another place", ({ expect }) => {
    const pieces = fc.array(
      fc.constantFrom("/", ".", "..", "a", "-", "\\", "~", " ", "\0", ".hatchway", "run/hatchway"),
    );
    fc.assert(
      fc.property(pieces, (parts) => {
        const path = parts.join("");
        if (pathProblem(path) === undefined) expect(posix.resolve("/root", path)).toBe(`/root/${path}`);
        if (linkProblem(path) === undefined) expect(posix.resolve("/root", path)).toBe(path);
        if (linkProblem(path) === undefined) expect(`${path}/`.startsWith("/run/hatchway/")).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it("limits a path to 150 bytes, each component to 100", ({ expect }) => {
    const folder = "d".repeat(49);
    expect(pathProblem(`${folder}/${"f".repeat(100)}`)).toBeUndefined();
    expect(pathProblem(`${folder}d/${"f".repeat(100)}`)).toMatch(/151 bytes/);
    expect(pathProblem("f".repeat(101))).toMatch(/is not a path/);
    expect(linkProblem(`/${folder}/${"f".repeat(100)}`)).toBeUndefined();
  });

  it("takes no path and no user name that a tar header can't hold", ({ expect }) => {
    for (let folder = 1; folder < 50; folder++) {
      const path = `${"d".repeat(folder)}/${"f".repeat(100)}`;
      expect(pathProblem(path)).toBeUndefined();
      expect(() => encodeHeader({ ...header, path })).not.toThrow();
    }
    for (const uname of vectors.user.good) {
      expect(() => encodeHeader({ ...header, path: "a", uname, gname: uname })).not.toThrow();
    }
  });
});
