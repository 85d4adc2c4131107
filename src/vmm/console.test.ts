import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, test } from "vitest";
import { ConsoleLog, maximumLog, tailLog, type ConsoleOptions } from "./console.ts";

let folder: string;
let options: ConsoleOptions;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "console."));
  const runner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  options = { socket: join(folder, "s"), log: join(folder, "console.log"), runner };
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Writes to the console as QEMU does, and waits until all of it was taken. */
async function write(bytes: string | Buffer): Promise<void> {
  const socket = connect(options.socket);
  socket.end(bytes);
  socket.resume();
  await once(socket, "close");
}

test("keeps what comes, in private files, over connections and restarts", async ({ expect }) => {
  for (const text of ["first\n", "second\n"]) {
    const log = await ConsoleLog.listen(options);
    expect((statSync(options.socket).mode & 0o777).toString(8)).toBe("600");
    await write(text);
    await log.close();
  }
  expect(readFileSync(options.log, "utf8")).toBe("first\nsecond\n");
  expect((statSync(options.log).mode & 0o777).toString(8)).toBe("600");
});

test("a guest that writes for ever fills two files and no more", async ({ expect }) => {
  const log = await ConsoleLog.listen(options);
  for (let round = 0; round < 5; round += 1) await write(Buffer.alloc(700_000, `line ${round}\n`));
  await write("the end\n");
  expect(await log.tail(1)).toEqual(["the end"]);
  await log.close();
  expect(statSync(options.log).size).toBeLessThanOrEqual(maximumLog);
  expect(statSync(`${options.log}.1`).size).toBeLessThanOrEqual(maximumLog);
  expect(existsSync(`${options.log}.2`)).toBe(false);
  expect(log.failure).toBeUndefined();
});

test("goes on when somebody removes the log", async ({ expect }) => {
  const log = await ConsoleLog.listen(options);
  rmSync(options.log);
  for (let round = 0; round < 3; round += 1) await write(Buffer.alloc(600_000, "x\n"));
  await log.close();
  expect(log.failure).toBeUndefined();
  expect(existsSync(options.log)).toBe(true);
});

test("the tail is the newest lines, harmless and not too long", async ({ expect }) => {
  appendFileSync(`${options.log}.1`, "old\n");
  appendFileSync(options.log, `\x1b[2J\x1b]0;owned\x07one\r\n\xfftwo\n${"x".repeat(5000)}\nunfinished`);
  const lines = await tailLog(options.log, 5);
  expect(lines.map((line) => line.length)).toEqual([3, 3, 4, 1024, 10]);
  expect(lines.slice(0, 2)).toEqual(["old", "one"]);
  expect(await tailLog(options.log, 1)).toEqual(["unfinished"]);
  expect(await tailLog(options.log, 0)).toEqual([]);
  expect(await tailLog(join(folder, "none"), 3)).toEqual([]);
});

test("follows no link that the runner may have put there", async ({ expect }) => {
  const victim = join(folder, "victim");
  writeFileSync(victim, "mine", { mode: 0o644 });
  symlinkSync(victim, options.log);
  await expect(ConsoleLog.listen(options)).rejects.toThrow("cannot be written");
  expect(readFileSync(victim, "utf8")).toBe("mine");
  expect((statSync(victim).mode & 0o777).toString(8)).toBe("644");
});
