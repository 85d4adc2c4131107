// What GNU tar makes of the good vectors: a bundle can be looked at and unpacked with a tool that everybody has.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { describe, it } from "vitest";
import { bundleVectors, VECTORS, type ExpectedFile } from "#test/kit/vectors";

const MANIFEST = ".hatchway/manifest.json";
const good = bundleVectors().filter(({ outcome }) => outcome === "ok");

/** Runs tar over a vector; throws if it complains in any way. */
function tar(file: string, ...words: string[]): Buffer {
  const path = fileURLToPath(new URL(file, VECTORS));
  const env = { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
  const { status, stdout, stderr, error } = spawnSync("tar", ["--warning=all", ...words, "--file", path], { env });
  if (error) throw error;
  if (status !== 0 || stderr.length > 0) throw new Error(`tar: status ${status}: ${stderr.toString("latin1")}`);
  return stdout;
}

/** "-rw-r----- owner/group size date time path", as `tar tvf` prints it. */
function listing({ path, mode, uid, gid, owner, group, size }: ExpectedFile): string {
  const bits = Number.parseInt(mode, 8).toString(2).padStart(9, "0").split("");
  const permissions = bits.map((bit, at) => (bit === "1" ? "rwx"[at % 3] : "-")).join("");
  return `-${permissions} ${owner === "" ? uid : owner}/${group === "" ? gid : group} ${size} ${path}`;
}

describe("GNU tar", () => {
  for (const { file, about, files = [] } of good) {
    it(`lists and unpacks ${file}: ${about}`, ({ expect }) => {
      const lines = tar(file, "--list", "--verbose").toString("latin1").trimEnd().split("\n");
      const seen = lines.map((line) => line.replace(/ +/g, " ").replace(/ \d+-\d\d-\d\d \d\d:\d\d(?::\d\d)? /, " "));
      expect(seen[0]).toMatch(/^-rw------- 0\/0 \d+ \.hatchway\/manifest\.json$/);
      expect(seen.slice(1)).toEqual(files.map(listing));

      const names = tar(file, "--list").toString("latin1").trimEnd().split("\n");
      expect(names).toEqual([MANIFEST, ...files.map(({ path }) => path)]);
      for (const { path, sha256 } of files) {
        const content = tar(file, "--extract", "--to-stdout", path);
        expect(createHash("sha256").update(content).digest("hex"), path).toBe(sha256);
      }
    });
  }
});
