import { PassThrough } from "node:stream";
import { test } from "vitest";
import { runCli, type Outcome } from "#test/kit/run-cli";
import { scriptDaemon } from "#test/kit/scripted-daemon";

interface Typed extends Outcome {
  /** What the daemon got. */
  value: Buffer | undefined;
  rawModes: boolean[];
  /** The chunks that the terminal delivered, as they are afterwards. */
  chunks: Buffer[];
}

const secret = { name: "db", size: 3, version: 1 };

async function type(...texts: (string | Buffer)[]): Promise<Typed> {
  const chunks = texts.map((text) => Buffer.from(text));
  const rawModes: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (raw: boolean) => rawModes.push(raw) });
  for (const chunk of chunks) stdin.write(chunk);
  stdin.end();
  await using daemon = await scriptDaemon({ "PUT /secrets/db/value": [201, secret] });
  const outcome = await runCli(["-c", daemon.uri, "secret", "set", "db"], { stdin });
  return { ...outcome, value: daemon.asked[0]?.body, rawModes, chunks };
}

test("the value is asked for twice, not echoed, and sent as typed", async ({ expect }) => {
  const typed = await type("geheim\r", "geheim\r");
  expect(typed.value?.toString()).toBe("geheim");
  expect(typed.stderr).toBe('value of "db" (hidden): \nthe same again: \n');
  expect(typed.code).toBe(0);
  expect(typed.rawModes).toEqual([true, false]);
});

test("what the terminal delivered is wiped", async ({ expect }) => {
  const typed = await type("geheim\r", "geheim\r");
  for (const chunk of typed.chunks) expect(chunk.every((byte) => byte === 0)).toBe(true);
});

test("a paste of both lines at once is read as two", async ({ expect }) => {
  expect((await type("abc\nabc\n")).value?.toString()).toBe("abc");
});

test("backspace takes a whole character, Ctrl-U all of them, arrow keys nothing", async ({ expect }) => {
  expect((await type("wrong\x15aé\x7fb\x1b[D\x1bOAc\r", "abc\r")).value?.toString()).toBe("abc");
});

test("two that differ are refused and nothing is sent", async ({ expect }) => {
  const typed = await type("abc\r", "abd\r");
  expect(typed).toMatchObject({ code: 2, value: undefined, rawModes: [true, false] });
  expect(typed.stderr).toContain("error: the two values that were typed differ");
});

test("Ctrl-C exits 130, sends nothing and gives the terminal back", async ({ expect }) => {
  const typed = await type("abc\x03");
  expect(typed).toMatchObject({ code: 130, value: undefined, rawModes: [true, false] });
  for (const chunk of typed.chunks) expect(chunk.every((byte) => byte === 0)).toBe(true);
});

test("a terminal that closes is as Ctrl-C", async ({ expect }) => {
  expect(await type("abc")).toMatchObject({ code: 130, value: undefined, rawModes: [true, false] });
});

test("an empty value is refused", async ({ expect }) => {
  const typed = await type("\r\r");
  expect(typed).toMatchObject({ code: 2, value: undefined });
  expect(typed.stderr).toContain('the value for "db" is empty');
});
