// image build with a real daemon: where an image may be open, what is sealed, and what the audit trail has of it.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  fchmodSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, test } from "vitest";
import { Daemon } from "#daemon/daemon";
import { parseSealHeader, SEAL_HEADER } from "#protocol/sealed";
import { call } from "#test/kit/http";
import { runCli, type Outcome } from "#test/kit/run-cli";
import { auditLines } from "#test/kit/vault";

const VALUE = "correct horse battery";

let folder: string;
let daemon: Daemon;
let socket: string;
/** A folder on a tmpfs, and one on a disk, both empty. */
let memory: string;
let disk: string;
const made: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync("/tmp/hw.");
  socket = join(folder, "run/hatchway.sock");
  const places = { state: join(folder, "s"), config: join(folder, "c.yaml"), runtime: join(folder, "run"), socket };
  daemon = await Daemon.start({ mode: "session", places, echo: false, onFatal: (error) => daemon.log.report(error) });
  const data = Buffer.from(VALUE).toString("base64");
  await call(socket, "POST", "/secrets", JSON.stringify({ name: "db", data, uid: 7, permissions: "0440" }));
  await call(socket, "POST", "/vms", JSON.stringify({ name: "web-1", secrets: ["db"] }));
});
beforeEach(() => {
  memory = mkdtempSync("/dev/shm/hatchway-test.");
  disk = mkdtempSync("/var/tmp/hatchway-test.");
  made.push(memory, disk);
});
afterAll(async () => {
  await daemon.close();
  for (const path of [...made, folder]) rmSync(path, { recursive: true });
});

const build = (...words: string[]): Promise<Outcome> =>
  runCli(["-c", `unix://${socket}`, "image", "build", "web-1", ...words]);

describe("an image", () => {
  test("in memory is open, and private", async ({ expect }) => {
    for (const format of ["erofs", "squashfs", "iso", "tar"]) {
      const path = join(memory, format);
      const { stdout } = await build("--format", format, "--out", path);
      expect(stdout).toBe(`wrote "${path}" (${format}, ${statSync(path).size} bytes, in memory)\n`);
      expect(readFileSync(path).includes(VALUE)).toBe(true);
      expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
    }
  });

  test("on a disk is sealed, unless its user wants otherwise", async ({ expect }) => {
    const path = join(disk, "image");
    const refused = await build("--format", "erofs", "--out", path);
    expect([refused.code, refused.stderr]).toEqual([
      2,
      `error: "${path}" is on a disk, where an image needs somebody to be sealed to\n` +
        "hint: --key FILE, on a tmpfs, makes a key for it; --recipient takes yours; --plain seals nothing\n",
    ]);
    expect(readdirSync(disk)).toEqual([]);
    expect((await build("--format", "erofs", "--out", path, "--plain")).code).toBe(0);
    expect(readFileSync(path).includes(VALUE)).toBe(true);
  });

  test("that is sealed holds no value, and the stock age opens it with its key", async ({ expect }) => {
    for (const [format, inside] of [
      ["sealed", "tar"],
      ["erofs", "erofs"],
    ] as const) {
      const [path, key, age] = [join(disk, format), join(memory, format), join(memory, `${format}.age`)];
      expect((await build("--format", format, "--out", path, "--key", key)).code).toBe(0);
      const image = readFileSync(path);
      const header = parseSealHeader(image);
      expect([header.format, image.includes(VALUE)]).toEqual([inside, false]);
      const opened = execFileSync("age", ["-d", "-i", key], {
        input: image.subarray(SEAL_HEADER, SEAL_HEADER + header.length),
      });
      expect(await build("--format", inside, "--out", age)).toMatchObject({ code: 0 });
      expect(opened.equals(readFileSync(age))).toBe(true);
    }
  });

  test("is sealed again to the key that is there, if it is a key and nobody else can read it", async ({ expect }) => {
    const [first, second, key] = [join(disk, "first"), join(disk, "second"), join(memory, "key")];
    expect((await build("--format", "sealed", "--out", first, "--key", key)).code).toBe(0);
    const before = readFileSync(key);
    const { stdout } = await build("--format", "sealed", "--out", second, "--key", key);
    expect(stdout).toContain(`it is sealed to the key in "${key}"`);
    expect(readFileSync(key).equals(before)).toBe(true);
    const image = readFileSync(second);
    const age = image.subarray(SEAL_HEADER, SEAL_HEADER + parseSealHeader(image).length);
    expect(execFileSync("age", ["-d", "-i", key], { input: age }).includes(VALUE)).toBe(true);
    const refused = async (text: string): Promise<void> => {
      const outcome = await build("--format", "sealed", "--out", join(disk, "third"), "--key", key);
      expect([outcome.code, outcome.stderr]).toEqual([2, expect.stringContaining(text)]);
      expect(outcome.stderr).not.toContain(before.toString("latin1").slice(16, 60));
    };
    chmodSync(key, 0o644);
    await refused(`"${key}" is open to others: its mode is 0644`);
    writeFileSync(key, before.subarray(0, -3), { mode: 0o600 });
    chmodSync(key, 0o600);
    await refused("is there and is no key of age: key: it is not AGE-SECRET-KEY-1");
  });

  test("goes to a recipient of its user's", async ({ expect }) => {
    const identity = execFileSync("age-keygen", { stdio: ["ignore", "pipe", "ignore"] }).toString();
    const [, recipient = ""] = /public key: (\S+)/.exec(identity) ?? [];
    const path = join(disk, "image");
    expect((await build("--format", "sealed", "--out", path, "--recipient", recipient)).code).toBe(0);
    const image = readFileSync(path);
    const sealed = image.subarray(SEAL_HEADER, SEAL_HEADER + parseSealHeader(image).length);
    const tar = execFileSync("sh", ["-c", `age -d -i /dev/fd/3 3<<'END' | tar t\n${identity}END\n`], { input: sealed });
    expect(tar.toString()).toBe(".hatchway/manifest.json\ndb\n");
  });

  test("is written into a descriptor that is open already, if nobody else can read it", async ({ expect }) => {
    for (const [mode, code] of [
      [0o600, 0],
      [0o644, 2],
    ] as const) {
      const fd = openSync(join(memory, mode.toString(8)), "wx+");
      fchmodSync(fd, mode);
      const outcome = await build("--format", "tar", "--out", `/dev/fd/${fd}`);
      closeSync(fd);
      expect([outcome.code, readFileSync(join(memory, mode.toString(8))).length > 0]).toEqual([code, code === 0]);
    }
  });

  test("never replaces a file, and one that fails leaves nothing, its key included", async ({ expect }) => {
    const [path, key] = [join(memory, "image"), join(memory, "key")];
    const refusals: [words: string[], code: number, words: string][] = [
      [["--format", "ext4", "--out", path], 2, '"ext4" is not a format'],
      [["--format", "squashfs", "--label", "X", "--out", path], 2, "squashfs has no label"],
      [["--format", "erofs", "--label", "X".repeat(16), "--out", path], 2, "is not a label: 1 to 15 of"],
      [["--format", "sealed", "--out", path], 2, "a sealed image needs somebody to be sealed to"],
      [["--format", "sealed", "--out", path, "--recipient", "bob"], 2, '"bob" is not an age recipient'],
      [["--format", "sealed", "--out", path, "--plain"], 2, "the opposite"],
      [["--format", "tar", "--out", path, "--plain", "--key", key], 2, "--plain seals nothing"],
      [["--format", "sealed", "--out", path, "--key", join(disk, "key")], 2, "would be on a disk"],
      [["--format", "squashfs", "--label", "X", "--out", path, "--key", key], 2, "squashfs has no label"],
      [["--format", "tar", "--out", join(memory, "no/folder")], 2, "ENOENT"],
    ];
    for (const [words, code, text] of refusals) {
      const outcome = await build(...words);
      expect([outcome.code, outcome.stderr]).toEqual([code, expect.stringContaining(text)]);
      expect([readdirSync(memory), readdirSync(disk)]).toEqual([[], []]);
    }
    expect((await build("--format", "tar", "--out", path)).code).toBe(0);
    const before = readFileSync(path);
    expect((await build("--format", "erofs", "--out", path)).code).toBe(4);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test("leaves a line for each value, and its value nowhere", async ({ expect }) => {
    await build("--format", "tar", "--out", join(memory, "image"));
    const text = readFileSync(join(folder, "s/audit.jsonl"), "utf8");
    const last = auditLines(text).findLast(({ op }) => op === "bundle.export");
    expect(last).toMatchObject({ secret: "db", version: 1, vm: "web-1", outcome: "ok" });
    for (const file of ["audit.jsonl", "daemon.log"])
      expect(readFileSync(join(folder, "s", file)).includes(VALUE)).toBe(false);
  });

  test("of a vm that there is not is refused, and no file is left", async ({ expect }) => {
    const outcome = await runCli([
      "-c",
      `unix://${socket}`,
      "image",
      "build",
      "web-9",
      "--format",
      "tar",
      "--out",
      join(memory, "i"),
    ]);
    expect([outcome.code, readdirSync(memory)]).toEqual([3, []]);
  });
});
