// The agent's sources dir: and file:, for all that a tar can be and for what a folder can be besides.
import { chmodSync, chownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, it } from "vitest";
import { encodeManifest } from "#protocol/manifest";
import { manifestText } from "#test/kit/bundle-cases";
import { readBundle } from "#test/kit/bundle";
import { isWhole } from "#test/kit/case-bundle";
import { COMPILED, GuestNamespace, ON_NODE, type Ended } from "#test/kit/guest-namespace";
import { bundleVectors, type BundleCase } from "#test/kit/vectors";

const SET = "/run/hatchway/secrets";
const entry = { name: "db", version: 1, size: 4, path: "db", mode: "0600", uid: 0, gid: 0 };
const one = manifestText([entry], { revision: "e1.1.8" });

describe("hatchway-agent", () => {
  let guest: GuestNamespace;
  beforeEach(async () => {
    guest = await GuestNamespace.open();
  });
  afterEach(() => guest.close());

  const sync = (from: string): Promise<Ended> => guest.run([...COMPILED.command, "sync", "--from", from]);
  const put = (path: string, content: string | Buffer, mode = 0o600): void => {
    const file = guest.path(path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content, { mode });
    chmodSync(file, mode);
  };
  const share = (manifest = one): void => {
    rmSync(guest.path("/run/share"), { recursive: true, force: true });
    put("/run/share/.hatchway/manifest.json", manifest);
    put("/run/share/db", "four");
  };
  /** Who a name is differs from machine to machine. */
  const vectors = bundleVectors().filter(({ files = [] }) => files.every(({ owner }) => owner === ""));
  const values = (): string[] =>
    guest.listing(SET).filter((line) => !/ \.hatchway\/(?:manifest|refused|env|values)/.test(line));

  it("takes each bundle as a tar in a file, or refuses it by its rule", async ({ expect }) => {
    for (const { file, bytes, outcome, rule, files = [] } of vectors) {
      rmSync(guest.path(SET), { recursive: true, force: true });
      put("/run/bundle.tar", bytes);
      const { code, stderr } = await sync("file:/run/bundle.tar");
      if (outcome === "refused") {
        expect([code, values()], file).toEqual([1, []]);
        expect(stderr, file).toContain(rule);
      } else if (isWhole({ bytes, outcome } as BundleCase)) {
        expect(code, `${file}: ${stderr}`).toBe(0);
        const there = files.filter(({ path }) => !path.startsWith(".hatchway"));
        const lines = there.map(
          ({ path, mode, uid, gid, size }) => `${mode.replace(/^0+/, "")} ${uid} ${gid} ${size} ${path}`,
        );
        expect(values(), file).toEqual(lines.sort());
      } else expect([code, values()], file).toEqual([1, []]);
    }
  });

  it("takes each bundle as a share that has lost all modes and owners, or refuses it", async ({ expect }) => {
    for (const vector of vectors) {
      const { manifest, values: contents } = readBundle([vector.bytes]);
      if (vector.outcome === "refused" || !manifest || !isWhole(vector)) continue;
      rmSync(guest.path(SET), { recursive: true, force: true });
      rmSync(guest.path("/run/share"), { recursive: true, force: true });
      put("/run/share/.hatchway/manifest.json", Buffer.from(encodeManifest(manifest)), 0o644);
      for (const { path, content } of contents) put(`/run/share/${path}`, content, 0o755);
      expect((await sync("dir:/run/share")).code, vector.file).toBe(0);
      const there = (vector.files ?? []).filter(({ path }) => !path.startsWith(".hatchway"));
      expect(values(), vector.file).toEqual(
        there
          .map(({ path, mode, uid, gid, size }) => `${mode.replace(/^0+/, "")} ${uid} ${gid} ${size} ${path}`)
          .sort(),
      );
    }
  });

  it("refuses a share that is not as its manifest says, and keeps the set", async ({ expect }) => {
    share();
    expect(await sync("dir:/run/share")).toEqual({ code: 0, stdout: "1 secret, revision e1.1.8\n", stderr: "" });
    const damage: [act: () => void, refusal: string][] = [
      [() => put("/run/share/db", "fours"), '"db" is not as the manifest says'],
      [() => rmSync(guest.path("/run/share/db")), 'cannot read "db" of the source: open db: no such file'],
      [() => guest.shell("rm /run/share/db; mkfifo /run/share/db"), '"db" is not as the manifest says'],
      [() => guest.shell("rm /run/share/db; mkdir /run/share/db"), '"db" is not as the manifest says'],
      [() => guest.shell("rm /run/share/db; ln -s /etc/passwd /run/share/db"), "a symlink is in the way"],
      [() => guest.shell("rm /run/share/.hatchway/manifest.json"), "manifest.json"],
      [() => put("/run/share/.hatchway/manifest.json", `${one} `), "manifest: "],
    ];
    for (const [act, refusal] of damage) {
      share(manifestText([entry], { revision: "e1.1.9" }));
      act();
      const { code, stderr } = await sync("dir:/run/share");
      expect([code, stderr]).toEqual([1, expect.stringContaining(refusal)]);
      expect(values()).toEqual(["600 0 0 4 db"]);
    }
  });

  it("refuses what somebody else than root could have written", async ({ expect }) => {
    const alone = /^error: "[^"]+" should be root's alone/;
    for (const path of ["", "/.hatchway", "/.hatchway/manifest.json"]) {
      share();
      chownSync(guest.path(`/run/share${path}`), 1000, 0);
      expect((await sync("dir:/run/share")).stderr, path).toMatch(alone);
      share();
      chmodSync(guest.path(`/run/share${path}`), 0o777);
      expect((await sync("dir:/run/share")).stderr, path).toMatch(alone);
    }
    guest.shell("mount --bind /run/share /run/share && mount -o remount,bind,ro /run/share");
    expect((await sync("dir:/run/share")).code).toBe(0);
    const tar = vectors.find(({ file }) => file === "good-one-file.tar");
    put("/run/bundle.tar", tar?.bytes ?? "", 0o640);
    expect((await sync("file:/run/bundle.tar")).stderr).toMatch(alone);
    chmodSync(guest.path("/run/bundle.tar"), 0o600);
    chownSync(guest.path("/run/bundle.tar"), 1000, 0);
    expect((await sync("file:/run/bundle.tar")).stderr).toMatch(alone);
    symlinkSync("/run/bundle.tar", guest.path("/run/link"));
    expect((await sync("file:/run/link")).stderr).toContain("a symlink is in the way");
    expect((await sync("file:/run")).stderr).toContain('"/run" should be a file');
    expect((await sync("file:/run/none")).stderr).toContain('cannot read "/run/none"');
    expect((await sync("dir:/run/none")).stderr).toContain('cannot read "/run/none"');
  });

  it("follows a share that changes", async ({ expect }) => {
    share();
    const agent = guest.start([...COMPILED.command, "run", "--from", "dir:/run/share"]);
    while (values().length === 0) await new Promise((done) => setTimeout(done, 50));
    share(manifestText([entry, { ...entry, name: "two", path: "two", size: 0 }], { revision: "e1.1.9" }));
    put("/run/share/two", "");
    while (values().length < 2) await new Promise((done) => setTimeout(done, 50));
    expect(values()).toEqual(["600 0 0 0 two", "600 0 0 4 db"]);
    agent.kill();
  });
});

it.for([COMPILED, ON_NODE])(
  "a disk is looked for without any, and refused as none, $name",
  async ({ command }, { expect }) => {
    const guest = await GuestNamespace.open();
    const { code, stderr } = await guest.run([...command, "sync", "--from", "label:NOBODY"]);
    await guest.close();
    expect([code, stderr]).toEqual([1, expect.stringContaining('no disk of this guest has the label "NOBODY"')]);
  },
);
