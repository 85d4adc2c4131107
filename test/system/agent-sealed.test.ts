// Sealed sources of the agent: age files and sealed images as a file and in a share; and that the program age agrees with the
// agent on what an age file is.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, it } from "vitest";
import { sealImage } from "#bundle/sealed";
import type { ImageFormat } from "#bundle/image";
import { AGE_VECTORS, ageFile, ageKeyText, ageVectors, longAgeCases } from "#test/kit/age-cases";
import { goodCases, manifestFile, manifestText } from "#test/kit/bundle-cases";
import { isWhole } from "#test/kit/case-bundle";
import { COMPILED, GuestNamespace, type Ended } from "#test/kit/guest-namespace";
import { tarArchive, tarFile } from "#test/kit/tar";

const SET = "/run/hatchway/secrets";
const KEY = "/run/key";

const good = goodCases()
  .filter(isWhole)
  .filter(({ files = [] }) => files.every(({ owner }) => owner === ""));

/** A bundle of one secret; two chunks of age. */
function bundleOf(content: string, revision: string): Buffer {
  const entry = { name: "db", version: 1, size: content.length, path: "db", mode: "0600", uid: 0, gid: 0 };
  return tarArchive(manifestFile(manifestText([entry], { revision })), tarFile({ name: "db" }, content));
}

const two = bundleOf("x".repeat(80_000), "e1.1.2");

async function imageOf(tar: Buffer, format: ImageFormat = "tar"): Promise<Buffer> {
  const encoding = { size: tar.length, writeTo: (sink: (bytes: Uint8Array) => Promise<void>) => sink(tar) };
  return sealImage(encoding, format, async (plaintext) => ageFile(Buffer.from(plaintext)));
}

describe("the program age", () => {
  it("agrees with the agent on each vector", ({ expect }) => {
    const key = fileURLToPath(new URL("key.txt", AGE_VECTORS));
    for (const { file, outcome, laxer, sha256, bytes } of [...ageVectors(), ...longAgeCases()]) {
      // It reads an armored file as well, and what is in ours is none.
      const { status, stdout } = spawnSync("age", ["-d", "-i", key], { input: bytes, maxBuffer: 1_000_000 });
      expect(status === 0, file).toBe(outcome === "ok" || laxer === true);
      if (sha256 !== undefined) expect(createHash("sha256").update(stdout).digest("hex"), file).toBe(sha256);
    }
  });
});

describe("the agent, of what is sealed", () => {
  const { command } = COMPILED;
  let guest: GuestNamespace;
  beforeEach(async () => {
    guest = await GuestNamespace.open();
    put(KEY, ageKeyText());
  });
  afterEach(() => guest.close());

  const sync = (from: string, key = KEY): Promise<Ended> =>
    guest.run([...command, "sync", "--from", from, "--key-file", key]);
  const put = (path: string, content: string | Buffer, mode = 0o600): void => {
    const file = guest.path(path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content, { mode });
    chmodSync(file, mode);
  };
  const values = (): string[] =>
    guest.listing(SET).filter((line) => !/ \.hatchway\/(?:manifest|refused|env|values)/.test(line));

  it("installs each good bundle as from a tar", async ({ expect }) => {
    for (const [at, { file, bytes, files = [] }] of good.entries()) {
      rmSync(guest.path(SET), { recursive: true, force: true });
      put("/run/sealed", at % 2 === 0 ? ageFile(bytes) : await imageOf(bytes));
      const { code, stderr } = await sync("file:/run/sealed");
      expect(code, `${file}: ${stderr}`).toBe(0);
      const there = files.filter(({ path }) => !path.startsWith(".hatchway"));
      expect(values(), file).toEqual(
        there
          .map(({ path, mode, uid, gid, size }) => `${mode.replace(/^0+/, "")} ${uid} ${gid} ${size} ${path}`)
          .sort(),
      );
    }
  });

  it("finds that it has what it has", async ({ expect }) => {
    for (const bytes of [
      ageFile(two),
      await imageOf(two),
      ageFile(bundleOf("four", "e1.1.3")),
      bundleOf("x", "e1.1.4"),
    ]) {
      put("/run/sealed", bytes);
      const first = await sync("file:/run/sealed");
      expect(first.code, first.stderr).toBe(0);
      const inode = guest.shell(`stat -c %i ${SET}/db`);
      expect(await sync("file:/run/sealed")).toEqual(first);
      expect(guest.shell(`stat -c %i ${SET}/db`)).toBe(inode);
    }
  });

  it("refuses what was cut, changed, or is another's, and keeps the set", async ({ expect }) => {
    put("/run/sealed", ageFile(bundleOf("four", "e1.1.1")));
    expect((await sync("file:/run/sealed")).code).toBe(0);
    const image = await imageOf(two);
    const changed = (at: number): Buffer => {
      const bytes = Buffer.from(image);
      bytes[at] = (bytes.at(at) ?? 0) ^ 1;
      return bytes;
    };
    const other = ageVectors().find(({ file }) => file === "bad-other-key.age")?.bytes ?? Buffer.alloc(0);
    const aged = ageFile(two);
    const cases: [what: string, bytes: Buffer, refusal: string][] = [
      ["another's", other, "age: it is sealed to another key than this guest's"],
      ["without its last chunk", aged.subarray(0, -(two.length % 65_536) - 16), "age: it was cut or changed"],
      ["cut", aged.subarray(0, -1), "age: it was cut or changed"],
      ["with a byte behind it", Buffer.concat([aged, Buffer.alloc(1)]), "age: it was cut or changed"],
      ["a tar that is cut", ageFile(two.subarray(0, -512)), "bundle: it ends in the middle"],
      ["an image's first byte", changed(0), "tar: "],
      ["an image's version", changed(14), "sealed image: its version is not 1"],
      ["an image's length", changed(31), "age: it was cut or changed"],
      ["an image's last chunk", changed(64 + aged.length - 1), "age: it was cut or changed"],
      ["an image's padding", changed(image.length - 1), "what stands behind it is not its padding"],
      ["an image cut", image.subarray(0, 70_000), "sealed image: it ends in the middle"],
      ["an image and more", Buffer.concat([image, Buffer.alloc(1)]), "what stands behind it is not its padding"],
      ["a file system", await imageOf(two, "erofs"), "sealed image: it holds erofs"],
    ];
    for (const [what, bytes, refusal] of cases) {
      put("/run/sealed", bytes);
      const { code, stderr } = await sync("file:/run/sealed");
      expect([code, stderr], what).toEqual([1, expect.stringContaining(refusal)]);
      expect(values(), what).toEqual(["600 0 0 4 db"]);
    }
    put("/run/sealed", image);
    expect(await sync("file:/run/sealed")).toEqual({ code: 0, stdout: "1 secret, revision e1.1.2\n", stderr: "" });
  });

  it("takes the key from a file that is root's alone, and from nowhere else", async ({ expect }) => {
    put("/run/sealed", ageFile(two));
    const alone = (await guest.run([...command, "sync", "--from", "file:/run/sealed"])).stderr;
    expect(alone).toContain('no key for what is sealed: no fw_cfg file "opt/org.hatchway/key"');
    expect((await sync("file:/run/sealed", "/run/none")).stderr).toContain('cannot read "/run/none"');
    put("/run/open", ageKeyText(), 0o640);
    expect((await sync("file:/run/sealed", "/run/open")).stderr).toContain('"/run/open" should be root\'s alone, 0600');
    chmodSync(guest.path("/run/open"), 0o600);
    chownSync(guest.path("/run/open"), 1000, 0);
    expect((await sync("file:/run/sealed", "/run/open")).stderr).toContain("it is uid 1000's");
    put("/run/two", ageKeyText() + ageKeyText());
    expect((await sync("file:/run/sealed", "/run/two")).stderr).toContain("key: 2 lines");
    expect(values()).toEqual([]);
    expect((await sync("file:/run/sealed")).code).toBe(0);
  });

  it("follows a sealed share, whose file is put there whole", async ({ expect }) => {
    put("/run/share/bundle.age", ageFile(bundleOf("four", "e1.1.1")));
    const agent = guest.start([...command, "run", "--from", "dir:/run/share", "--key-file", KEY]);
    while (values().join() !== "600 0 0 4 db") await new Promise((done) => setTimeout(done, 50));
    put("/run/share/.new", await imageOf(bundleOf("fiver", "e1.1.2")));
    guest.shell("mv /run/share/.new /run/share/bundle.age");
    while (values().join() !== "600 0 0 5 db") await new Promise((done) => setTimeout(done, 50));
    agent.kill();
    chmodSync(guest.path("/run/share/bundle.age"), 0o662);
    expect((await sync("dir:/run/share")).stderr).toContain('"/run/share/bundle.age" should be root\'s alone to write');
    guest.shell("rm /run/share/bundle.age && mkfifo /run/share/bundle.age");
    expect((await sync("dir:/run/share")).code).toBe(1);
  });
});
