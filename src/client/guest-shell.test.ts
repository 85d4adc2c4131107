import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { HatchwayError } from "#error";
import { Answer, quote, runInGuest } from "./guest-shell.ts";

const token = "0123456789abcdef0123456789abcdef";

/** What an Answer makes of bytes that come in pieces of `size`. */
function answerOf(text: string, size: number): { code: number | undefined; output: string } {
  const bytes = Buffer.from(text, "latin1");
  const chunks: Buffer[] = [];
  const answer = new Answer(token, (chunk) => chunks.push(Buffer.from(chunk)));
  let code: number | undefined;
  for (let at = 0; at < bytes.length && code === undefined; at += size)
    code = answer.push(bytes.subarray(at, at + size));
  return { code, output: Buffer.concat(chunks).toString("latin1") };
}

test("finds output and status, whole or byte by byte, and skips what others left", ({ expect }) => {
  const left = "rest of an output\nfedcba start\nmore\nfedcba exit 0\n";
  const output = `\0\xff\n${token.slice(1)} exit 9\n\n${token} exit \n`.replace(`${token} exit`, `${token} exi`);
  const text = `${left}${token} start\n${output}\n${token} exit 13\nlate`;
  for (const size of [text.length, 1, 7, 33]) expect(answerOf(text, size)).toEqual({ code: 13, output });
});

test("an answer that is not whole has no status", ({ expect }) => {
  const text = `${token} start\nout\n${token} exit 13`;
  for (const size of [text.length, 1]) expect(answerOf(text, size)).toEqual({ code: undefined, output: "out" });
  expect(answerOf("noise", 1)).toEqual({ code: undefined, output: "" });
});

test("sends nothing to who is not the VM", async ({ expect }) => {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-shell-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "shell.sock");
  const server = createServer().listen(path);
  onTestFinished(() => void server.close());
  let received = 0;
  const gone = new Promise<void>((resolve) => {
    server.once("connection", (socket) => {
      socket.on("data", (bytes) => (received += bytes.length));
      socket.once("close", () => resolve());
    });
  });
  await once(server, "listening");
  const shell = runInGuest(path, ["echo", "secret words"], { timeoutMs: 10_000, checkPeer });
  await expect(shell).rejects.toMatchObject({ code: "forbidden" });
  await gone;
  expect(received).toBe(0);
});

function checkPeer(): void {
  throw new HatchwayError("forbidden", "another process");
}

test("a quoted word is one word", ({ expect }) => {
  expect(quote("it's $HOME")).toBe(`'it'\\''s $HOME'`);
  expect(quote("")).toBe("''");
  expect(() => quote("a\0b")).toThrow("no NUL");
});
