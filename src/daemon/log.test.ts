import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { DaemonLog } from "#daemon/log";
import { HatchwayError } from "#error";

async function made(): Promise<{ log: DaemonLog; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-log-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "daemon.log");
  return { log: new DaemonLog(path, false), path };
}

const texts = (log: string): string[] =>
  log
    .split("\n")
    .slice(0, -1)
    .map((line) => line.slice(line.indexOf(" ") + 1));

test("a line has its time, and the file is private", async ({ expect }) => {
  const { log, path } = await made();
  log.write("one");
  await log.close();
  expect(await readFile(path, "utf8")).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z one\n$/);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test("what somebody else worded stays one line without control characters", async ({ expect }) => {
  const { log } = await made();
  log.write("a\u001b[2Jb\nc\r\u0007d\u009b");
  expect(texts(await log.tail(10))).toHaveLength(1);
  expect(await log.tail(10)).toMatch(/^[ -~]*\n$/);
});

test("the tail is the last lines, in their order", async ({ expect }) => {
  const { log } = await made();
  for (const text of ["one", "two", "three"]) log.write(text);
  expect(texts(await log.tail(2))).toEqual(["two", "three"]);
  expect(texts(await log.tail(100))).toEqual(["one", "two", "three"]);
  expect(await log.tail(0)).toBe("");
});

test("an error is told with its causes; of one that is not ours, where it was", async ({ expect }) => {
  const { log } = await made();
  log.report(new HatchwayError("corrupt", "outer", { cause: new HatchwayError("invalid", "inner") }));
  log.report(new TypeError("a fault"));
  const [known, unknown] = texts(await log.tail(2));
  expect(known).toBe("corrupt: outer <- inner");
  expect(unknown).toContain("internal: internal error <- TypeError: a fault");
  expect(unknown).toContain("log.test.ts");
});

test("a full log begins anew, and the one before is kept", async ({ expect }) => {
  const { log, path } = await made();
  const long = "x".repeat(1_000);
  for (let count = 0; count < 1_500; count++) log.write(`${count} ${long}`);
  await log.close();
  expect((await stat(path)).size).toBeLessThan(1_048_576);
  expect((await stat(`${path}.1`)).size).toBeLessThan(1_048_577);
  expect((await stat(`${path}.1`)).mode & 0o777).toBe(0o600);
  const numbers = texts(await log.tail(1_500)).map((text) => Number.parseInt(text, 10));
  expect(numbers).toEqual(Array.from({ length: 1_500 }, (_, at) => at));
});

test("who follows gets each line once, also those of the moment when he came", async ({ expect }) => {
  const { log } = await made();
  for (let count = 0; count < 20; count++) log.write(`${count}`);
  const stop = new AbortController();
  let followed = "";
  const following = (async () => {
    for await (const text of log.follow(100, stop.signal)) followed += text;
  })();
  for (let count = 20; count < 40; count++) {
    log.write(`${count}`);
    if (count % 4 === 0) await new Promise(setImmediate);
  }
  while (texts(followed).length < 40) await new Promise((resolve) => setTimeout(resolve, 1));
  stop.abort();
  await following;
  expect(texts(followed)).toEqual(Array.from({ length: 40 }, (_, at) => `${at}`));
});

test("a log that cannot be written stops nothing", async ({ expect }) => {
  const log = new DaemonLog("/nonexistent/daemon.log", true);
  log.write("this line is on stderr all the same");
  await log.close();
  expect(await log.tail(1)).toBe("");
});
