import { appendFile, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { auditLines } from "#test/kit/vault";
import { Audit, type AuditAnchor, type AuditFields } from "#vault/audit";
import { Key } from "#vault/envelope";

interface Trail {
  path: string;
  key: Key;
}

async function place(): Promise<Trail> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-audit-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return { path: join(folder, "audit.jsonl"), key: Key.random() };
}

const fields = (opId: string, more: Partial<AuditFields> = {}): AuditFields => ({
  op: "secret.update",
  opId,
  caller: "unix:uid=0,gid=0,pid=1",
  ...more,
});

/** A trail of `count` operations that are done, and the anchor that the last one would have left in the store. */
async function written({ path, key }: Trail, count: number): Promise<AuditAnchor> {
  const { audit } = await Audit.open(path, key, undefined);
  let anchor = audit.anchor;
  for (let number = 1; number <= count; number++) {
    await audit.intent(fields(`op-${number}`), true);
    anchor = audit.anchor;
    await audit.outcome(fields(`op-${number}`, { outcome: "ok" }));
  }
  await audit.close();
  return anchor;
}

async function reopened({ path, key }: Trail, anchor: AuditAnchor | undefined): Promise<string[]> {
  const { audit, open } = await Audit.open(path, key, anchor);
  await audit.close();
  return open.map(({ opId }) => opId);
}

const corrupt = { name: "HatchwayError", code: "corrupt" };

test("the trail is lines of JSON, private, counted from one, each with a MAC", async ({ expect }) => {
  const trail = await place();
  await written(trail, 2);
  const lines = auditLines(await readFile(trail.path, "utf8"));
  expect(lines.map(({ seq, phase, opId, outcome }) => [seq, phase, opId, outcome])).toEqual([
    [1, "intent", "op-1", undefined],
    [2, "outcome", "op-1", "ok"],
    [3, "intent", "op-2", undefined],
    [4, "outcome", "op-2", "ok"],
  ]);
  expect(lines.every(({ mac, time }) => /^[0-9a-f]{64}$/.test(mac) && !Number.isNaN(Date.parse(time)))).toBe(true);
  expect((await stat(trail.path)).mode & 0o777).toBe(0o600);
});

test("what is done needs nothing at start, what is open is given back", async ({ expect }) => {
  const trail = await place();
  await written(trail, 2);
  const { audit } = await Audit.open(trail.path, trail.key, undefined);
  await audit.intent(fields("left-open"), true);
  const { anchor } = audit;
  await audit.intent(fields("done"), true);
  await audit.outcome(fields("done", { outcome: "ok" }));
  await audit.close();
  expect(await reopened(trail, anchor)).toEqual(["left-open"]);
  expect(await reopened(trail, undefined)).toEqual(["left-open"]);
});

test("an intent counts as open until its outcome is written", async ({ expect }) => {
  const trail = await place();
  const { audit } = await Audit.open(trail.path, trail.key, undefined);
  await audit.intent(fields("a"), true);
  const outcome = audit.outcome(fields("a", { outcome: "ok" }));
  expect(audit.anchor.settled.seq).toBe(0);
  await outcome;
  await audit.intent(fields("b"), true);
  expect(audit.anchor.settled.seq).toBe(2);
  await audit.close();
});

test("a line that was never finished is cut off, and the chain goes on", async ({ expect }) => {
  const trail = await place();
  const anchor = await written(trail, 2);
  const whole = await readFile(trail.path);
  for (const torn of ['{"seq":5', "{", '{"seq":5,"mac":"00"}']) {
    await writeFile(trail.path, whole);
    await appendFile(trail.path, torn);
    expect(await reopened(trail, anchor)).toEqual([]);
    expect((await readFile(trail.path)).equals(whole)).toBe(true);
  }
  const { audit } = await Audit.open(trail.path, trail.key, anchor);
  await audit.intent(fields("next"), true);
  await audit.close();
  expect(await reopened(trail, anchor)).toEqual(["next"]);
});

test("a trail that is cut before the anchor's newest line is refused", async ({ expect }) => {
  const trail = await place();
  const anchor = await written(trail, 1);
  const whole = await readFile(trail.path);
  const newest = anchor.newest.offset;
  expect(whole.length).toBeGreaterThan(newest);
  for (let size = 0; size < newest; size++) {
    await writeFile(trail.path, whole.subarray(0, size));
    await expect(Audit.open(trail.path, trail.key, anchor), `${size} bytes`).rejects.toMatchObject(corrupt);
  }
  await rm(trail.path);
  await expect(Audit.open(trail.path, trail.key, anchor)).rejects.toMatchObject(corrupt);
});

test("an edit of any byte anywhere is refused", async ({ expect }) => {
  const trail = await place();
  const anchor = await written(trail, 1);
  const whole = await readFile(trail.path);
  for (let at = 0; at < whole.length - 1; at++) {
    const edited = Buffer.from(whole);
    edited[at] = (edited[at] ?? 0) ^ 2;
    await writeFile(trail.path, edited);
    await expect(Audit.open(trail.path, trail.key, anchor), `byte ${at}`).rejects.toMatchObject(corrupt);
  }
});

test("lines that are swapped, left out, doubled or of another trail are refused", async ({ expect }) => {
  const trail = await place();
  await written(trail, 2);
  const [one, two, three, four] = (await readFile(trail.path, "utf8")).split(/(?<=\n)/);
  for (const lines of [
    [two, one, three, four],
    [one, three, four],
    [one, two, two, three, four],
    [two, three, four],
  ]) {
    await writeFile(trail.path, lines.join(""));
    await expect(Audit.open(trail.path, trail.key, undefined)).rejects.toMatchObject(corrupt);
  }
  await expect(Audit.open(trail.path, Key.random(), undefined)).rejects.toMatchObject(corrupt);
});

test("an anchor whose line has another MAC, or none, is refused", async ({ expect }) => {
  const trail = await place();
  const { settled, newest } = await written(trail, 2);
  const mac = "1".repeat(64);
  for (const anchor of [
    { settled, newest: { ...newest, mac } },
    { settled: { ...settled, mac }, newest },
    { settled, newest: { ...newest, seq: 99 } },
    { settled: { ...settled, offset: settled.offset + 1 }, newest },
    { settled: { ...settled, offset: 1_000_000 }, newest },
  ]) {
    await expect(Audit.open(trail.path, trail.key, anchor)).rejects.toMatchObject(corrupt);
  }
});

test("lines of one time go out in their order, chained", async ({ expect }) => {
  const trail = await place();
  const { audit } = await Audit.open(trail.path, trail.key, undefined);
  await Promise.all(Array.from({ length: 200 }, (_, at) => audit.intent(fields(`op-${at}`), at % 3 === 0)));
  await audit.close();
  expect(await reopened(trail, undefined)).toEqual(Array.from({ length: 200 }, (_, at) => `op-${at}`));
});

test("only its own fields get into the trail", async ({ expect }) => {
  const trail = await place();
  const { audit } = await Audit.open(trail.path, trail.key, undefined);
  const stray = { ...fields("op"), value: "never", secret: 'db\u001b[2J\n"' } as AuditFields;
  await audit.record([stray], true);
  await audit.close();
  const text = await readFile(trail.path, "utf8");
  expect(text).not.toContain("never");
  expect(text).toContain(String.raw`db\u001b[2J\n\"`);
  expect(text.split("\n")).toHaveLength(2);
});

test("a trail that cannot be written refuses that line and all that follow", async ({ expect }) => {
  const { key } = await place();
  const { audit } = await Audit.open("/dev/full", key, undefined);
  const refused = {
    code: "unavailable",
    message: "the audit trail cannot be written: ENOSPC: no space left on device",
  };
  await expect(audit.intent(fields("a"), true)).rejects.toMatchObject(refused);
  await expect(audit.record([fields("b")], false)).rejects.toMatchObject(refused);
  await expect(audit.outcome(fields("a"))).rejects.toMatchObject(refused);
  expect(audit.anchor.newest.seq).toBe(0);
  await audit.close();
});

test("a trail that is a folder or a link is refused", async ({ expect }) => {
  const { path, key } = await place();
  await mkdir(path);
  await expect(Audit.open(path, key, undefined)).rejects.toMatchObject({ code: "unavailable" });
  await symlink(`${path}.elsewhere`, `${path}.link`);
  await expect(Audit.open(`${path}.link`, key, undefined)).rejects.toMatchObject({ code: "unavailable" });
});

test("what was done after the anchor is told at start, what the anchor covers is not", async ({ expect }) => {
  const trail = await place();
  const anchor = await written(trail, 3);
  const { audit, done } = await Audit.open(trail.path, trail.key, anchor);
  expect(done.map(({ opId }) => opId)).toEqual(["op-3"]);
  await audit.settle();
  expect(audit.anchor.newest.seq).toBe(6);
  await audit.close();
});

test("once settled, the anchor reaches to the last line", async ({ expect }) => {
  const trail = await place();
  const { audit } = await Audit.open(trail.path, trail.key, undefined);
  await audit.record([fields("read")], false);
  expect(audit.anchor.newest.seq).toBe(0);
  await audit.settle();
  expect(audit.anchor.newest.seq).toBe(1);
  await audit.close();
});
