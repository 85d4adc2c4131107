import { appendFile, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, onTestFinished, test } from "vitest";
import { admin, auditLines, guest, refusal, TestVault } from "#test/kit/vault";
import type { Caller } from "#caller";
import type { HatchwayError } from "#error";
import type { TrailSummary } from "#trail";
import { Audit, type AuditAnchor } from "#vault/audit";
import { verifyTrail } from "#vault/audit-chain";
import { segmentsOf } from "#vault/audit-files";
import { Key } from "#vault/envelope";
import type { TrailHead } from "#vault/trail-heads";

const fields = (opId: string) => ({ op: "secret.update", opId, caller: "unix:uid=0,gid=0,pid=1" });

interface Made {
  path: string;
  folder: string;
  key: Key;
  anchor: AuditAnchor;
  files: string[];
}

/** A trail of `count` changes in files of about five lines. */
async function inFiles(count: number): Promise<Made> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-trail-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "audit.jsonl");
  const key = Key.random();
  const { audit } = await Audit.open(path, key, undefined, { full: 1_000 });
  let { anchor } = audit;
  for (let number = 1; number <= count; number++) {
    await audit.intent(fields(`op-${number}`), true);
    ({ anchor } = audit);
    await audit.outcome({ ...fields(`op-${number}`), outcome: "ok" });
  }
  await audit.close();
  return { path, folder, key, anchor, files: (await readdir(folder)).toSorted() };
}

const verified = async (path: string, key: Key): Promise<TrailSummary> =>
  verifyTrail(path, await segmentsOf(path), key);

const corrupt = { name: "HatchwayError", code: "corrupt" };

/** A vault whose trail has `count` lines of something harmless before its last change; stopped. */
async function longTrail(count: number, onFatal: (error: HatchwayError) => void): Promise<TestVault> {
  const made = await TestVault.open({ store: "sqlite", vault: { onFatal } });
  await made.set("db", "value");
  const denied: Caller = { kind: "unix", uid: 4711, gid: 4711, pid: 1 };
  for (let done = 0; done < count; done += 100) {
    await Promise.all(Array.from({ length: 100 }, () => refusal(made.vault.secrets(denied))));
  }
  await made.set("db", "newer");
  await made.stop();
  return made;
}

test("how far trail and store have come is told when the vault is closed", async ({ expect }) => {
  const heads: TrailHead[] = [];
  await using made = await TestVault.open({ vault: { onHead: (head) => heads.push(head) } });
  await made.set("db", "value");
  const [epoch, revision] = [await made.store.epoch(), await made.store.revision()];
  await made.stop();
  const last = (await made.audit()).at(-1);
  // Closing writes the head once more.
  const head = { seq: last?.seq, mac: last?.mac, epoch: epoch.toString("hex"), revision: revision + 1 };
  expect(heads.at(-1)).toEqual(head);
});

describe("a long trail", () => {
  // Some 200 bytes a line; more than 1 MiB is looked at beside the serving.
  const LINES = 6_000;

  test("is checked to its beginning while the vault serves", async ({ expect }) => {
    const faults: HatchwayError[] = [];
    await using made = await longTrail(LINES, (error) => faults.push(error));
    await made.start();
    expect((await made.vault.secret(admin, "db")).version).toBe(2);
    expect((await made.vault.trail.verify(admin)).lines).toBeGreaterThan(LINES);
    await made.stop();
    expect(faults).toEqual([]);
  });

  test("with an edit in its older part ends the vault, which then does nothing more", async ({ expect }) => {
    const { promise, resolve } = Promise.withResolvers<HatchwayError>();
    await using made = await longTrail(LINES, resolve);
    const whole = await readFile(made.places.audit, "utf8");
    await writeFile(made.places.audit, whole.replace('"op":"secret.list"', '"op":"secret.lisp"'));
    await made.start();
    expect(await promise).toMatchObject({
      code: "corrupt",
      message: expect.stringMatching(/^the audit trail ".*" was edited: line \d+ does not hold$/) as string,
    });
    expect(await refusal(made.set("db", "newest"))).toBe("corrupt");
    await made.stop().catch(() => undefined);
  });

  test("that was cut, or whose anchor is not in it, is refused at start", async ({ expect }) => {
    const faults: HatchwayError[] = [];
    await using made = await longTrail(LINES, (error) => faults.push(error));
    const whole = await readFile(made.places.audit, "utf8");
    const lines = whole.split("\n");
    for (const text of [
      lines.slice(0, -3).join("\n"),
      lines.slice(1).join("\n"),
      whole.replace(
        /("mac":")(.)(?=[^\n]*\n$)/,
        (_, before: string, digit: string) => before + (digit === "0" ? "1" : "0"),
      ),
    ]) {
      await writeFile(made.places.audit, text);
      expect(await refusal(made.start())).toBe("corrupt");
    }
  });
});

describe("a trail of several files", () => {
  test("is full files, named by where they begin, and one that grows; all private", async ({ expect }) => {
    const { folder, files } = await inFiles(20);
    expect(files.length).toBeGreaterThan(3);
    const grown = files.filter((file) => file !== "audit.jsonl");
    let start = 0;
    let seq = 0;
    for (const file of [...grown, "audit.jsonl"]) {
      if (file !== "audit.jsonl") expect(file).toBe(`audit.jsonl.${String(start).padStart(16, "0")}`);
      const { mode, size } = await stat(join(folder, file));
      expect(mode & 0o777).toBe(0o600);
      for (const line of auditLines(await readFile(join(folder, file), "utf8"))) expect(line.seq).toBe((seq += 1));
      start += size;
    }
    expect(seq).toBe(40);
  });

  test("holds from the first line on, whole", async ({ expect }) => {
    const { path, key, files } = await inFiles(20);
    expect(await verified(path, key)).toMatchObject({
      files: files.length,
      lines: 40,
      first: { seq: 1 },
      last: { seq: 40 },
    });
  });

  test("opens by an anchor in any of its files, and goes on", async ({ expect }) => {
    const { path, key, anchor } = await inFiles(20);
    const positions: AuditAnchor[] = [];
    const again = await Audit.open(path, key, anchor, { full: 1_000 });
    positions.push(again.audit.anchor);
    await again.audit.intent(fields("more"), true);
    await again.audit.outcome({ ...fields("more"), outcome: "ok" });
    await again.audit.close();
    for (const old of [undefined, anchor, ...positions]) {
      const { audit, open } = await Audit.open(path, key, old, { full: 1_000 });
      await audit.close();
      expect(open).toEqual([]);
    }
    expect((await verified(path, key)).lines).toBe(42);
  });

  test("finds what was open when it was rotated since", async ({ expect }) => {
    const { path, key, anchor } = await inFiles(3);
    const { audit } = await Audit.open(path, key, anchor, { full: 1_000 });
    await audit.intent(fields("left-open"), true);
    const left = audit.anchor;
    for (let number = 0; number < 20; number++) await audit.record([{ ...fields(`r-${number}`), outcome: "ok" }], true);
    await audit.close();
    const { audit: next, open } = await Audit.open(path, key, left, { full: 1_000 });
    await next.close();
    expect(open.map(({ opId }) => opId)).toEqual(["left-open"]);
  });

  test("that was put aside and not begun anew, as a crash leaves it, goes on", async ({ expect }) => {
    const { path, folder, key, anchor } = await inFiles(20);
    const full = (await readdir(folder)).filter((file) => file !== "audit.jsonl").toSorted();
    const last = full.at(-1) ?? "";
    const start = Number(last.slice(-16)) + (await stat(join(folder, last))).size;
    await rename(path, `${path}.${String(start).padStart(16, "0")}`);
    const { audit } = await Audit.open(path, key, anchor, { full: 1_000 });
    await audit.record([fields("next")], true);
    await audit.close();
    expect((await verified(path, key)).lines).toBe(41);
  });

  test("is refused when a file between others is gone, and when the newest full one is", async ({ expect }) => {
    const { path, folder, key, anchor, files } = await inFiles(20);
    for (const file of files.filter((name) => name !== "audit.jsonl").slice(1)) {
      await rename(join(folder, file), join(folder, "aside"));
      await expect(verified(path, key)).rejects.toMatchObject(corrupt);
      await expect(Audit.open(path, key, anchor)).rejects.toMatchObject(corrupt);
      await rename(join(folder, "aside"), join(folder, file));
    }
  });

  test("whose oldest files were taken away holds from there on, and says where that is", async ({ expect }) => {
    const { path, folder, key, anchor, files } = await inFiles(20);
    for (const file of files.filter((name) => name !== "audit.jsonl").slice(0, 2)) await rm(join(folder, file));
    const { first, last } = await verified(path, key);
    expect(first?.seq).toBeGreaterThan(5);
    expect(last?.seq).toBe(40);
    const { audit } = await Audit.open(path, key, anchor);
    await audit.close();
  });

  test("is refused with any byte of any file changed, and the first bad line is named", async ({ expect }) => {
    const { path, folder, key, files } = await inFiles(4);
    expect(files.length).toBeGreaterThan(1);
    for (const file of files) {
      const good = await readFile(join(folder, file));
      for (let at = 0; at < good.length - 1; at += 3) {
        const edited = Buffer.from(good);
        edited[at] = (edited[at] ?? 0) ^ 1;
        await writeFile(join(folder, file), edited);
        await expect(verified(path, key), `${file} ${at}`).rejects.toMatchObject(corrupt);
      }
      await writeFile(join(folder, file), good);
    }
    const text = await readFile(path, "utf8");
    const { seq, opId } = auditLines(text)[0] ?? { seq: 0, opId: "" };
    await writeFile(path, text.replace(opId, "another"));
    await expect(verified(path, key)).rejects.toMatchObject({
      message: `the audit trail "${path}" was edited: line ${seq} does not hold`,
    });
  });

  test("ignores a line that was never finished, at its end alone", async ({ expect }) => {
    const { path, folder, key, files } = await inFiles(20);
    await appendFile(path, '{"seq":41');
    expect((await verified(path, key)).lines).toBe(40);
    await appendFile(join(folder, files[1] ?? ""), '{"seq":41');
    await expect(verified(path, key)).rejects.toMatchObject(corrupt);
  });
});

async function read(pieces: AsyncIterable<string>): Promise<string> {
  let all = "";
  for await (const piece of pieces) all += piece;
  return all;
}

describe("reading the trail", () => {
  test("gives the last lines, and those that come", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    const { trail } = made.vault;
    expect(auditLines(await read(await trail.tail(admin, 1))).map(({ seq }) => seq)).toEqual([2]);
    expect(auditLines(await read(await trail.tail(admin, 99))).map(({ seq }) => seq)).toEqual([1, 2]);
    expect(await read(await trail.tail(admin, 0))).toBe("");
    const ended = new AbortController();
    const seen: number[] = [];
    const following = await trail.tail(admin, 1, ended.signal);
    await made.set("db", "two");
    const later = made.set("db", "three");
    for await (const piece of following) {
      seen.push(...auditLines(piece).map(({ seq }) => seq));
      if (seen.includes(6)) ended.abort();
    }
    await later;
    expect(seen).toEqual([2, 3, 4, 5, 6]);
  });

  test("selects by time, operation, secret and vm, of which a guest's lines have only the id", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    await made.set("other", "one");
    const { id } = await made.vm("web", "db");
    await made.vault.claim(guest(id), Buffer.alloc(32, 1));
    await made.seen(id, "db");
    const ops = async (filter: object): Promise<string[]> => {
      const lines = auditLines(await read(await made.vault.trail.select(admin, filter)));
      return lines.filter(({ phase }) => phase === "outcome").map(({ op }) => op);
    };
    expect(await ops({ secret: "db" })).toEqual(["secret.set", "vm.create", "secret.disclose"]);
    expect(await ops({ vm: "web" })).toEqual(["vm.create", "vm.claim", "secret.disclose"]);
    expect(await ops({ op: "vm.*" })).toEqual(["vm.create", "vm.claim"]);
    expect(await ops({ op: "vm.claim" })).toEqual(["vm.claim"]);
    expect(await ops({ until: Date.parse("2001-01-01") })).toEqual([]);
    expect((await ops({ since: Date.parse("2001-01-01") })).length).toBe(5);
  });

  test("is refused to others, guests and runners, with a line that says so", async ({ expect }) => {
    await using made = await TestVault.open();
    const { id } = await made.vm("web");
    const { trail } = made.vault;
    for (const caller of [guest(id), { kind: "runner", uid: 1000, vmId: id }, { ...admin, uid: 1001 }] as const) {
      expect(await refusal(trail.tail(caller, 1))).toBe("forbidden");
      expect(await refusal(trail.select(caller, {}))).toBe("forbidden");
      expect(await refusal(trail.verify(caller))).toBe("forbidden");
    }
    const refused = (await made.audit()).filter(({ outcome }) => outcome === "forbidden");
    expect(refused.map(({ op }) => op)).toEqual([1, 2, 3].flatMap(() => ["audit.read", "audit.read", "audit.verify"]));
  });

  test("verifies up to the last line, so that not even that can be cut off", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    expect(await made.vault.trail.verify(admin)).toMatchObject({ files: 1, lines: 2 });
    const whole = await readFile(made.places.audit, "utf8");
    await writeFile(made.places.audit, `${whole.split("\n")[0]}\n`);
    await expect(made.vault.trail.verify(admin)).rejects.toMatchObject({ code: "corrupt" });
    await writeFile(made.places.audit, whole);
  });
});
