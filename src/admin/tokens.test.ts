import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { Tokens } from "#admin/tokens";
import { refusal } from "#test/kit/vault";

const token = randomBytes(24).toString("hex");

function read(path: string): Promise<string> {
  return refusal(Tokens.read([{ id: "one", path }]));
}

async function file(text: string, mode = 0o600): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-token-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "token");
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

test("a token is known by its file, or by its digest", async ({ expect }) => {
  const other = randomBytes(24).toString("base64url");
  const digest = createHash("sha256").update(other).digest("hex");
  const tokens = await Tokens.read([
    { id: "one", path: await file(`${token}\n`) },
    { id: "two", path: await file(`sha256:${digest}`) },
  ]);
  expect(tokens.find(`Bearer ${token}`)).toBe("one");
  expect(tokens.find(`bearer ${other}`)).toBe("two");
  expect(tokens.find(`Bearer sha256:${digest}`)).toBeUndefined();
  expect(tokens.find(`Bearer ${digest}`)).toBeUndefined();
});

test("nothing but one whole token in the one form is taken", async ({ expect }) => {
  const tokens = await Tokens.read([{ id: "one", path: await file(token) }]);
  const forms = [
    token,
    `Basic ${token}`,
    `Bearer  ${token}`,
    `Bearer\t${token}`,
    `Bearer ${token} `,
    ` Bearer ${token}`,
    `Bearer ${token},Bearer ${token}`,
    `Bearer ${token}=`,
    `Bearer ${token.slice(1)}`,
    `Bearer ${token.toUpperCase()}`,
    "Bearer ",
    "Bearer",
    "",
  ];
  for (const form of forms) expect(tokens.find(form), form).toBeUndefined();
});

test("a file that others can read, that is missing, or that holds no token is refused", async ({ expect }) => {
  for (const mode of [0o644, 0o640, 0o604, 0o620]) expect(await read(await file(token, mode))).toBe("forbidden");
  expect(await read("/nowhere/token")).toBe("not-found");
  for (const text of ["", "\n", "short", `${token} ${token}`, `${token}\n${token}`, "sha256:0123"]) {
    expect(await read(await file(text))).toBe("invalid");
  }
});

test("two ids never share a token", async ({ expect }) => {
  const files = [
    { id: "one", path: await file(token) },
    { id: "two", path: await file(token) },
  ];
  await expect(Tokens.read(files)).rejects.toThrow('tokens "one" and "two" are the same');
});
